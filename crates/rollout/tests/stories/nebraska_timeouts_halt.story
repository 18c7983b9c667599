# The same, and no failure is borne: silence halts as an error does.
fleet 7
plan waves 1,4,2 proven 75 bad 0
start
run 640s
cut 2 for ever
cut 3 for ever
run 3h
show
