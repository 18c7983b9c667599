# Two of four hosts die in the middle. They do not vanish from the count: they are lost, and the gate holds.
fleet 7
plan waves 1,4,2 proven 75 bad 2
start
run 640s
cut 2 for ever
cut 3 for ever
run 3h
show
