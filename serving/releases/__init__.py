"""Two versions at once: shares of traffic, copies in the shadow, truths that come later, and the rule that decides.

Nothing is handed on here: the parent of several workers keeps the ledgers, and needs neither the service nor JAX.
"""
