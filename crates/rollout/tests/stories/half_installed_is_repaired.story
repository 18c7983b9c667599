fleet 3
plan waves 1,2
host 0 halves 1
host 1 halves 1
host 1 no-repair
start
run 2h
show
