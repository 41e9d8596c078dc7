"""What the demo's shop allows: Istio's documents as its operators would have them in their repository.

Least privilege where callers have identities, addresses where they have none (the old ERP, and the search that later
goes without TLS). Everything that the quiet world lets through they allow; what it refuses is refused by the policy and
rule that its lines name.
"""

from __future__ import annotations

from eastwatch.world.cluster import Cluster
from eastwatch.world.shop import ERP

FILE = "demo/policies.yaml"
"""Under which name the documents are known."""


def shop_policies(cluster: Cluster) -> bytes:
    """The documents as YAML, with the addresses that this cluster gave to who has no identity.

    Raises:
        KeyError: the topology is not the shop's.
    """
    first = cluster.members(ERP)[0][0]
    return _TEXT.replace("ERP_ADDRESS", cluster.pods[int(first)].address).encode()


_TEXT = """\
# The mesh: its settings, and who must show a certificate.
apiVersion: v1
kind: ConfigMap
metadata:
  name: istio
  namespace: istio-system
data:
  mesh: |-
    rootNamespace: istio-system
    trustDomain: cluster.local
    accessLogFile: /dev/stdout
    accessLogEncoding: JSON
    outboundTrafficPolicy:
      mode: ALLOW_ANY
    pathNormalization:
      normalization: BASE
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: istio-system
spec:
  mtls:
    mode: STRICT
---
# Until the ERP is replaced: it has no sidecar.
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: shop
spec:
  mtls:
    mode: PERMISSIVE
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: ingress
  namespace: istio-system
spec:
  selector:
    matchLabels:
      istio: ingressgateway
  action: ALLOW
  rules:
    - to:
        - operation:
            hosts: ["shop.example.com"]
            methods: ["GET", "POST"]
---
# The shop: nobody calls anybody but as said below.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: allow-nothing
  namespace: shop
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: web
  namespace: shop
spec:
  selector:
    matchLabels:
      app: web
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/", "/products/{*}", "/search"]
        - operation:
            methods: ["POST"]
            paths: ["/cart/items", "/checkout", "/login"]
---
# What is for sale is no secret, but it stays within the cluster.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: catalog
  namespace: shop
spec:
  selector:
    matchLabels:
      app: catalog
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/web"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/products", "/products/{*}", "/products/{*}/related"]
    - from:
        - source:
            ipBlocks: ["10.244.0.0/16"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/products:batch"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: search
  namespace: shop
spec:
  selector:
    matchLabels:
      app: search
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/web"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/v1/query"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: reviews
  namespace: shop
spec:
  selector:
    matchLabels:
      app: reviews
  action: ALLOW
  rules:
    - from:
        - source:
            serviceAccounts: ["web"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/reviews/{*}"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: recommendation
  namespace: shop
spec:
  selector:
    matchLabels:
      app: recommendation
  action: ALLOW
  rules:
    - from:
        - source:
            serviceAccounts: ["web"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/recommendations"]
---
# Personal data: names for the reviews, sessions for the web, and nothing internal for anybody yet.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: users
  namespace: shop
spec:
  selector:
    matchLabels:
      app: users
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/reviews"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/users"]
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/web"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/sessions"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: cart
  namespace: shop
spec:
  selector:
    matchLabels:
      app: cart
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/web"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/carts/{*}"]
        - operation:
            methods: ["POST"]
            paths: ["/carts/{*}/items"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: pricing
  namespace: shop
spec:
  selector:
    matchLabels:
      app: pricing
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/web", "cluster.local/ns/shop/sa/orders"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/shop.pricing.v1.Pricing/Quote"]
            ports: ["9000"]
---
# Rates are public.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: currency
  namespace: shop
spec:
  selector:
    matchLabels:
      app: currency
  action: ALLOW
  rules:
    - to:
        - operation:
            methods: ["GET"]
            paths: ["/rates"]
            ports: ["7000"]
---
# The ERP has no identity, so it is let in by its address.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: orders
  namespace: shop
spec:
  selector:
    matchLabels:
      app: orders
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/web"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/orders"]
    - from:
        - source:
            principals:
              - cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account
              - cluster.local/ns/platform/sa/reconciler
      to:
        - operation:
            methods: ["GET"]
            paths: ["/orders/{*}"]
    - from:
        - source:
            ipBlocks: ["ERP_ADDRESS/32"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/orders"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: shipping
  namespace: shop
spec:
  selector:
    matchLabels:
      app: shipping
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/orders"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/quotes"]
---
# Money: whoever is not on the first list is refused, whatever else says so.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: known-callers
  namespace: payments
spec:
  action: DENY
  rules:
    - from:
        - source:
            notPrincipals:
              - cluster.local/ns/payments/*
              - cluster.local/ns/shop/sa/orders
              - cluster.local/ns/platform/sa/reconciler
              - cluster.local/ns/platform/sa/settlement
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: no-bulk-export
  namespace: payments
spec:
  selector:
    matchLabels:
      app: ledger
  action: DENY
  rules:
    - to:
        - operation:
            paths: ["/v1/export*"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: ledger-db-clients
  namespace: payments
spec:
  selector:
    matchLabels:
      app: ledger-db
  action: DENY
  rules:
    - from:
        - source:
            notPrincipals: ["cluster.local/ns/payments/sa/ledger"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: payment
  namespace: payments
spec:
  selector:
    matchLabels:
      app: payment
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/orders"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/v1/charges"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: fraud
  namespace: payments
spec:
  selector:
    matchLabels:
      app: fraud
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/payments/sa/payment"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/payments.fraud.v1.Scorer/*"]
            ports: ["50051"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: ledger
  namespace: payments
spec:
  selector:
    matchLabels:
      app: ledger
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/payments/sa/payment"]
      to:
        - operation:
            methods: ["POST"]
            paths: ["/v1/entries"]
    - from:
        - source:
            principals: ["cluster.local/ns/platform/sa/reconciler", "cluster.local/ns/platform/sa/settlement"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/v1/summary"]
---
# The cart's cache speaks its own protocol: a connection, and whose it is.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: cart-cache
  namespace: data
spec:
  selector:
    matchLabels:
      app: cart-cache
  action: ALLOW
  rules:
    - from:
        - source:
            principals: ["cluster.local/ns/shop/sa/cart"]
      to:
        - operation:
            ports: ["6379"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: flags
  namespace: platform
spec:
  selector:
    matchLabels:
      app: flags
  action: ALLOW
  rules:
    - from:
        - source:
            namespaces: ["shop"]
      to:
        - operation:
            methods: ["GET"]
            paths: ["/v1/flags"]
"""
