fleet 2
plan waves 1,1
start
alerts unknown
run 1h
show
alerts 2
run 10m
show
alerts 0
run 1h
show
