fleet 2
plan waves 1,1
lock 0 10m
start
run 5m
show
run 1h
show
