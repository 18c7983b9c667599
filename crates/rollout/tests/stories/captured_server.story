# The server is taken over before the start. It forges, replays, aims at the wrong hosts, orders back. What is installed
# is what the approvers signed, on the hosts they named, or nothing.
fleet 6
plan waves 1,4
capture
run 12h
show
