"""Forbids a user of a broker to write to a topic, or allows it again.

    access.py BROKERS forbid|allow TOPIC USER
"""

import sys

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

brokers, what, topic, user = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": brokers})
place = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{user}", "*")
forbidden = (*place, AclOperation.WRITE, AclPermissionType.DENY)
if what == "forbid":
    # Of a topic of which something is forbidden, the rest has to be allowed.
    rest = (*place, AclOperation.ALL, AclPermissionType.ALLOW)
    results = admin.create_acls([AclBinding(*rest), AclBinding(*forbidden)])
else:
    results = admin.delete_acls([AclBindingFilter(*forbidden)])
for result in results.values():
    result.result()
