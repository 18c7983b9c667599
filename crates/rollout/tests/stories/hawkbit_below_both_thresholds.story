# 3 of 5 succeed and 2 of 5 fail; neither the threshold of success (80 %) nor that of errors (2) is passed. Elsewhere the
# next group then starts. Here the gate holds: 3 of 5 is not 80 %.
fleet 9
plan waves 1,5,3 proven 80 bad 2
host 2 unhealthy
host 4 unhealthy
start
run 3h
show
