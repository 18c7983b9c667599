# The canary's service does not come up with the new version. It turns back by itself, and nobody else is touched.
fleet 5
plan waves 1,4
host 0 unhealthy
start
run 30m
show
# Going on must be signed anew.
resume 1 unsigned
resume 1
run 2h
show
