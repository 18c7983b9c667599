# Host 1 is proven and dies in the soak; a clone of it goes on checking in under its key, in good health. That is no
# evidence about host 1: the gate holds.
fleet 4
plan waves 1,2,1
start
run 20m
clone 1
cut 1 for ever
run 2h
show
