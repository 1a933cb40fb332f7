"""Who a node is: its peer key, the account it is bound to, and the key it attests with."""
