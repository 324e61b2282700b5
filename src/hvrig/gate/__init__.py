"""The memory gate: memtester at growing sizes over SSH, while the console is watched.

`memtester`, `pagemap`, `meminfo`, `pace` and `judgement` are pure; `ladder` climbs with Protocols only;
`shell_paramiko` is the edge.
"""
