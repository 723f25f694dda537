"""Makes an authority and certificates signed by it, in PEM, as a plant's own authority does.

    certificates.py FOLDER NAME[=HOST,...] ...

writes `authority.pem`, and for each name `NAME.pem` (its certificate), `NAME.expired.pem` (the one before it, which has
expired), `NAME.key.pem` (its private key) and `NAME.locked.pem` (the same, under the password "s3cret-Of-NAME").
"""

import argparse
import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def host(text):
    """A host as a certificate tells it: an address or a name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def begun(subject, issuer, key, days=60):
    """A certificate that will have expired after so many days, a negative number being in the past."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def new_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write(path, certificate):
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*", metavar="NAME[=HOST,...]")
    options = parser.parse_args()

    authority = "Floorgate tests' authority"
    authority_key = new_key()
    may_sign = x509.BasicConstraints(ca=True, path_length=0)
    certificate = begun(authority, authority, authority_key).add_extension(may_sign, critical=True)
    write(options.folder / "authority.pem", certificate.sign(authority_key, hashes.SHA256()))
    for entry in options.names:
        name, _, hosts = entry.partition("=")
        key = new_key()
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        for file, days in [(f"{name}.pem", 60), (f"{name}.expired.pem", -1)]:
            certificate = begun(name, authority, key, days).add_extension(usages, critical=False)
            if hosts:
                names = x509.SubjectAlternativeName([host(text) for text in hosts.split(",")])
                certificate = certificate.add_extension(names, critical=False)
            write(options.folder / file, certificate.sign(authority_key, hashes.SHA256()))
        locked = serialization.BestAvailableEncryption(f"s3cret-Of-{name}".encode())
        for kind, encryption in [("key", serialization.NoEncryption()), ("locked", locked)]:
            (options.folder / f"{name}.{kind}.pem").write_bytes(
                key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
            )


if __name__ == "__main__":
    main()
