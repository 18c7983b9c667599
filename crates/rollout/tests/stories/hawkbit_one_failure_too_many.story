# The same with one failure borne: the second halts.
fleet 9
plan waves 1,5,3 proven 60 bad 1
host 2 unhealthy
host 4 unhealthy
start
run 3h
show
