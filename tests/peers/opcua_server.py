"""An OPC UA server for tests: variables under Objects, in a namespace of their own, set from outside."""

import argparse
import asyncio
import datetime
import pathlib
import socket

from asyncua import Server, ua
from asyncua.common.connection import SecureConnection
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_subscription import InternalSubscription
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

import line_protocol
from certificates import begun, new_key
from opcua_dictionary import Dictionary
from opcua_structure import Structure, Walks

POLICIES = {
    "None": ua.SecurityPolicyType.NoSecurity,
    "Basic256Sha256-Sign": ua.SecurityPolicyType.Basic256Sha256_Sign,
    "Basic256Sha256-SignAndEncrypt": ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    "Aes128Sha256RsaOaep-SignAndEncrypt": ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    "Aes256Sha256RsaPss-Sign": ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
    "Aes256Sha256RsaPss-SignAndEncrypt": ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
    "Basic256-SignAndEncrypt": ua.SecurityPolicyType.Basic256_SignAndEncrypt,
    "Basic128Rsa15-SignAndEncrypt": ua.SecurityPolicyType.Basic128Rsa15_SignAndEncrypt,
}


class OneUser:
    """Lets in the one user that the command line named, by password or certificate, and anybody when it named none."""

    def __init__(self, name, password, certificate):
        self.name, self.password, self.certificate = name, password, certificate

    def get_user(self, iserver, username=None, password=None, certificate=None):
        if self.name and (username, password) != (self.name, self.password):
            return None
        if self.certificate and certificate != self.certificate:
            return None
        return User(role=UserRole.User)


class Clients:
    """Knows clients by their certificates, as servers do whose administrator has to trust each."""

    def __init__(self):
        self.trusted = set()

    async def trust(self, certificate):
        """Trusts the client whose certificate is in this DER file."""
        self.trusted.add(pathlib.Path(certificate).read_bytes())

    async def check(self, certificate, application):
        if certificate.public_bytes(Encoding.DER) not in self.trusted:
            raise ua.uaerrors.BadCertificateUntrusted


class Messages:
    """What the server publishes, some of which does not arrive."""

    def __init__(self):
        self.held_back, self.forgets, self.asked_again = 0, False, 0
        pop, republish = InternalSubscription._pop_publish_result, InternalSubscription.republish

        def pop_unless_held_back(subscription):
            result = pop(subscription)
            message = result.NotificationMessage
            if not self.held_back or not message.NotificationData:
                return result
            self.held_back -= 1
            if self.forgets:
                del subscription._not_acknowledged_results[message.SequenceNumber]
            # A keep-alive, with the number of the message after it.
            return pop(subscription)

        def count_republish(subscription, number):
            self.asked_again += 1
            return republish(subscription, number)

        InternalSubscription._pop_publish_result = pop_unless_held_back
        InternalSubscription.republish = count_republish

    async def hold_back(self, messages, forgets):
        """Does not send the next messages with values; they can be asked for, unless they are forgotten."""
        self.held_back, self.forgets = messages, forgets

    async def republished(self):
        """How often a message was asked for again."""
        return {"value": self.asked_again}


class Channels:
    """The channels of connections, whose keys clients renew before their time is over."""

    def __init__(self):
        self.lifetime, self.renewed = None, 0
        open_channel = SecureConnection.open

        def open_for_a_while(connection, parameters, server):
            if self.lifetime:
                parameters.RequestedLifetime = min(parameters.RequestedLifetime, self.lifetime)
            self.renewed += connection.is_open() and parameters.RequestType == ua.SecurityTokenRequestType.Renew
            return open_channel(connection, parameters, server)

        SecureConnection.open = open_for_a_while

    async def limit(self, milliseconds):
        """Keys are good for no longer than this from now on, whatever clients ask for."""
        self.lifetime = milliseconds

    async def renewals(self):
        """How often keys were renewed."""
        return {"value": self.renewed}


class Clock:
    """The time that the server says it is; its values keep the times that they are given."""

    def __init__(self, server):
        self.server, self.ahead = server, 0

    def shift(self, node, attribute, data):
        """Takes what the server's own clock writes once a second."""
        moment = data.Value.Value + datetime.timedelta(seconds=self.ahead)
        node.attributes[attribute].value = ua.DataValue(ua.Variant(moment, ua.VariantType.DateTime))

    async def set(self, ahead):
        """Says from now on that it is so many seconds later than it is."""
        self.ahead = ahead
        node = self.server.iserver.current_time_node
        self.server.iserver.aspace.set_attribute_value_setter(node.nodeid, ua.AttributeIds.Value, self.shift)
        await node.write_value(datetime.datetime.now(datetime.timezone.utc))


class Plant:
    """The variables, by the text of their identifiers."""

    def __init__(self, server, index):
        self.server, self.index = server, index
        self.types = {}
        self.runs = {}
        # A task that nobody refers to may vanish.
        self.tasks = {}
        self.stopped = set()
        self.sessions_ever = 0
        self.create_session = server.iserver.create_session
        server.iserver.create_session = self.count_session

    def count_session(self, *arguments, **options):
        self.sessions_ever += 1
        return self.create_session(*arguments, **options)

    def node(self, node):
        if node not in self.types:
            raise KeyError(f"no variable {node}")
        return self.server.get_node(ua.NodeId(node, self.index))

    async def add(self, node, type, value):
        """Adds a variable; `type` is the name of an OPC UA built-in type."""
        variant = ua.Variant(value, ua.VariantType[type])
        await self.server.nodes.objects.add_variable(
            ua.NodeId(node, self.index), ua.QualifiedName(node, self.index), variant
        )
        self.types[node] = ua.VariantType[type]

    async def add_elsewhere(self, namespace, node, value):
        """Adds an Int32 in a namespace of its own, which clients know only after they asked for the namespaces again."""
        index = await self.server.register_namespace(namespace)
        variant = ua.Variant(value, ua.VariantType.Int32)
        await self.server.nodes.objects.add_variable(ua.NodeId(node, index), ua.QualifiedName(node, index), variant)

    async def delete(self, node):
        await self.server.delete_nodes([self.node(node)])
        del self.types[node]

    async def set(self, node, value, status=0, source_time=None):
        """Sets value, status code and source time (RFC 3339, now when absent) as one write."""
        moment = datetime.datetime.now(datetime.timezone.utc)
        if source_time:
            moment = datetime.datetime.fromisoformat(source_time)
        await self.server.write_attribute_value(
            self.node(node).nodeid,
            ua.DataValue(
                ua.Variant(value, self.types[node]),
                ua.StatusCode(status),
                moment,
                datetime.datetime.now(datetime.timezone.utc),
            ),
        )
        return {"source_time": moment.isoformat()}

    async def set_many(self, values):
        """Sets [[node, value], ...] one after the other with one source time."""
        moment = datetime.datetime.now(datetime.timezone.utc).isoformat()
        for node, value in values:
            await self.set(node, value, source_time=moment)
        return {"source_time": moment}

    async def count_up(self, node, first, last, interval_ms):
        """Starts to write first..=last to a variable, one every `interval_ms`, and answers at once."""
        async def run():
            for value in range(first, last + 1):
                if node in self.stopped:
                    return
                await self.set(node, value)
                self.runs[node] = value
                await asyncio.sleep(interval_ms / 1000)

        self.runs[node] = None
        self.stopped.discard(node)
        self.tasks[node] = asyncio.create_task(run())

    async def stop_counting(self, node):
        """Ends what `count_up` started; what it wrote last is the variable's value."""
        self.stopped.add(node)
        await self.tasks[node]
        return await self.progress(node)

    async def progress(self, node):
        """The value that `count_up` wrote last, null before the first."""
        return {"value": self.runs[node]}

    async def count(self):
        """How many connections, sessions, subscriptions and monitored items there are, and how many sessions there ever were."""
        subscriptions = self.server.iserver.subscription_service.subscriptions.values()
        items = [len(s.monitored_item_srv._monitored_items) for s in subscriptions]
        return {
            "connections": len(self.server.bserver.clients),
            # The server keeps those whose connection is gone until they are closed or their time is over.
            "sessions": len(self.server.iserver._external_sessions),
            "sessions_ever": self.sessions_ever,
            "subscriptions": len(items),
            "items": sum(items),
        }

    async def state(self, state):
        """Says of itself that it is in this state (OPC 10000-5, ServerState); it goes on all the same."""
        node = self.server.get_node(ua.ObjectIds.Server_ServerStatus_State)
        await node.write_value(ua.Variant(state, ua.VariantType.Int32))

    async def level(self, level):
        """Says of itself that it is so able to serve clients (OPC 10000-5, ServiceLevel)."""
        node = self.server.get_node(ua.ObjectIds.Server_ServiceLevel)
        await node.write_value(ua.Variant(level, ua.VariantType.Byte))

    async def drop(self):
        """Closes every connection; the sessions stay."""
        for client in list(self.server.bserver.clients):
            client.transport.abort()

    async def forget(self):
        """Ends every session with its subscriptions, and closes every connection, without a word to the clients."""
        for session in list(self.server.iserver._external_sessions.values()):
            await session.close_session(True)
        await self.drop()


def sign(folder, uri):
    """Makes what a server of a plant has whose authority is below a group's: `group.crt.der`, `plant.crt.der`, and its own."""
    keys = {name: new_key() for name in ("group", "plant", "server")}
    may_sign = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    for name, issuer, extensions in [
        ("group", "group", [(x509.BasicConstraints(True, 1), True), (may_sign, True)]),
        ("plant", "group", [(x509.BasicConstraints(True, 0), True), (may_sign, True)]),
        ("server", "plant", [(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)]),
    ]:
        certificate = begun(name, issuer, keys[name])
        for extension, is_critical in extensions:
            certificate = certificate.add_extension(extension, critical=is_critical)
        signed = certificate.sign(keys[issuer], hashes.SHA256())
        (folder / f"{name}.crt.der").write_bytes(signed.public_bytes(Encoding.DER))
    (folder / "server.key.pem").write_bytes(
        keys["server"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


async def secure(server, folder, by_authority):
    """Gives the server a key and a certificate, kept in `folder` from then on; it signs itself where no authority does."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "server.key.pem", folder / "server.crt.der"
    if by_authority and not key.exists():
        sign(folder, server.get_application_uri())
    if not by_authority:
        await self_signed(server, key, certificate)
    await server.load_certificate(certificate)
    await server.load_private_key(key)


async def self_signed(server, key, certificate):
    """Makes them, unless they are there."""
    await setup_self_signed_certificate(
        key,
        certificate,
        server.get_application_uri(),
        socket.gethostname(),
        [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
        {"organizationName": "Floorgate tests"},
    )


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--namespace", default="urn:floorgate:test:plant")
    parser.add_argument("--before", action="append", default=[], help="a namespace registered before the plant's")
    parser.add_argument("--policy", action="append", choices=POLICIES, help="default: None")
    parser.add_argument("--pki", type=pathlib.Path, help="folder of the server's key and certificate")
    parser.add_argument("--by-authority", action="store_true", help="its certificate is signed by a plant's authority")
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=pathlib.Path)
    parser.add_argument("--user-certificate", type=pathlib.Path, help="PEM file of the one user's certificate")
    parser.add_argument("--check-clients", action="store_true", help="lets in only clients that are trusted")
    options = parser.parse_args()

    password = options.password_file.read_text().strip() if options.password_file else None
    certificate = None
    if options.user_certificate:
        certificate = x509.load_pem_x509_certificate(options.user_certificate.read_bytes()).public_bytes(Encoding.DER)
    server = Server(user_manager=OneUser(options.user, password, certificate))
    await server.init()
    await server.set_application_uri("urn:floorgate:test:server")
    server.set_endpoint(f"opc.tcp://{options.host}:{options.port}/")
    if options.pki:
        await secure(server, options.pki, options.by_authority)
    server.set_security_policy([POLICIES[name] for name in options.policy or ["None"]])
    if options.user:
        server.set_identity_tokens([ua.UserNameIdentityToken])
    if certificate:
        server.set_identity_tokens([ua.X509IdentityToken])
    clients, messages, channels, clock = Clients(), Messages(), Channels(), Clock(server)
    if options.check_clients:
        server.set_certificate_validator(clients.check)
    for namespace in options.before:
        await server.register_namespace(namespace)
    plant = Plant(server, await server.register_namespace(options.namespace))
    structure, walks = Structure(server, plant), Walks()
    dictionary = Dictionary(server, plant)
    async with server:
        await line_protocol.serve(
            {
                "add": plant.add,
                "add_elsewhere": plant.add_elsewhere,
                "delete": plant.delete,
                "set": plant.set,
                "set_many": plant.set_many,
                "count_up": plant.count_up,
                "stop_counting": plant.stop_counting,
                "progress": plant.progress,
                "count": plant.count,
                "state": plant.state,
                "level": plant.level,
                "clock": clock.set,
                "limit_channels": channels.limit,
                "renewals": channels.renewals,
                "drop": plant.drop,
                "forget": plant.forget,
                "hall": structure.hall,
                "many": structure.many,
                "add_batch": dictionary.add,
                "set_batch": dictionary.set,
                "limit_requests": walks.limit,
                "fail_reads": walks.fail,
                "hold_browse": walks.hold,
                "holding_browse": walks.holding,
                "hold_back": messages.hold_back,
                "republished": messages.republished,
                "trust": clients.trust,
            }
        )


asyncio.run(main())
