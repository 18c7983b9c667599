# Host 1 is cut off after the point of no return. It finishes; its place stays taken until it is heard.
fleet 3
plan waves 1,2 at-once 1 deadline 1200
start
run 8m
run 5m
part 1 12m
part 2 12m
run 5m
show
run 1h
show
