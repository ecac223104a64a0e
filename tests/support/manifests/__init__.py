"""The Kubernetes manifests as a test sees them: rendered, read, held against the code, broken on purpose.

reading   render an overlay, find one's way in it
code      what must agree with the code: variables, ports, probes, the grace period, memory
wiring    what must agree within: schemas, names, selectors, references
safety    what must not be possible: pod security, secrets, network
rollout   what must never be missing: pods while they are replaced, moved or scaled
checks    all of them

A check takes the documents of one overlay and returns its complaints: none for the real ones, at least one for each
broken copy.
"""
