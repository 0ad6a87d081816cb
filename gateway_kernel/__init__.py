"""The rules of Sallyport, pure: what an operation is, what a policy says of it, and what may happen next.

No IO, no clock, no chance, no Azure: the edge agent and the control plane import the same rules and so reach the same
verdict. Time is an argument (`now`, microseconds since 1970 UTC), keys and nonces are arguments.
"""
