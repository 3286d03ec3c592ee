"""Far storage: real servers, a proxy that makes them far, narrow and unreliable, and a benchmark of reading from them.

cases ─► rounds ─► requirements ─► report        one process a measurement, started by `rounds`
            ├─► sites ─► servers, fault_proxy
            └─► measure ─► far_loaders, bare_clients

cases.py          Route and Case: who reads, over which way; the list of all
sites.py          Site: where a case's data lie; Servers: what puts them there
measure.py        one measurement, in a process of its own
far_loaders.py    shardkit, webdataset, litdata on URLs
bare_clients.py   clients that ask for the same ranges and do nothing else
scaling.py        `shardkit bench` under torchrun
contents.py       whether an epoch had every clip once, to the last byte
cache_watch.py    the most that lay in a folder
readings.py       Reading: one figure, and what belongs to it
rounds.py         cases measured in turns
requirements.py   what must hold
report.py         tables and JSON

Servers and proxy, which tests use too:

servers ─► owned_process ─► watchdog          nginx, rclone
fault_proxy ─► conversation ─► wire, link     one thread a connection
                    └─► ledger ─► faults      what was asked, and which fault it met

servers.py        nginx over HTTP, rclone over S3: started, waited for, stopped
owned_process.py  a child that ends with us, however we end
watchdog.py       the process between us and the child that sees to it
fault_proxy.py    the proxy as a process: command line, and a context manager
conversation.py   one client's connection and the one to the server behind it
wire.py           heads and bodies of HTTP/1.1 messages
link.py           latency and bandwidth
ledger.py         counts and the log
faults.py         kinds of faults, rules, and which request meets which
"""
