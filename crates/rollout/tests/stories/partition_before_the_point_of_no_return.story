# Host 1 is cut off while it prepares, and the rollout is paused. It never begins.
fleet 2
plan waves 1,1 lease 120 clearance 60
start
run 10m
part 1 30m
run 10m
pause
run 50m
show
