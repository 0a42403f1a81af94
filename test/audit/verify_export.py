"""Checks an export of the audit log by server/audit/LOG.md alone: verify_export.py EXPORT TRUST_ROOT (base64)."""

import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

b64 = base64.b64decode
READS = ("workspaces.file.downloaded", "workspaces.file.previewed")


def sha256(data):
    return hashlib.sha256(data).digest()


def certified_key(text, root, repository):
    """The signing key that the trust root vouches for (FORMAT.md, Certificates)."""
    header, body, last = text.rstrip("\n").split("\n")
    signature = json.loads(last)
    number = json.loads(header)["number"]
    digest = hashlib.sha256(f"{header}\n{body}\n".encode()).hexdigest()
    statement = f"holdfast/1\ncertificate\n{repository}\n{number}\n{digest}\n"
    Ed25519PublicKey.from_public_bytes(root).verify(b64(signature["signature"]), statement.encode())
    return b64(json.loads(body)["signingKey"]["publicKey"])


def check_note(note, keys):
    """Size and root, when one key has made both signatures."""
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    origin, size, root = text.splitlines()
    for key in keys:
        public = Ed25519PublicKey.from_public_bytes(key)
        held = 0
        for line in lines.strip("\n").split("\n"):
            _, name, blob = line.split(" ")
            blob = b64(blob)
            for kind in (1, 4):
                if name == origin and blob[:4] == sha256(f"{origin}\n".encode() + bytes([kind]) + key)[:4]:
                    seconds = int.from_bytes(blob[4:12], "big")
                    message = text if kind == 1 else f"cosignature/v1\ntime {seconds}\n{text}"
                    public.verify(blob[4:] if kind == 1 else blob[12:], message.encode())
                    held += kind
        if held == 5:
            return int(size), b64(root), origin
    raise SystemExit("a checkpoint is not signed by a certified key")


class Tree:
    def __init__(self, size, frontier):
        self.size = size
        levels = [level for level in range(60, -1, -1) if size >> level & 1]
        self.stack = list(zip(levels, frontier))

    def append(self, leaf):
        level, top = 0, leaf
        while self.stack and self.stack[-1][0] == level:
            top = sha256(b"\x01" + self.stack.pop()[1] + top)
            level += 1
        self.stack.append((level, top))
        self.size += 1

    def root(self):
        if not self.stack:
            return sha256(b"")
        nodes = [node for _, node in self.stack]
        root = nodes.pop()
        while nodes:
            root = sha256(b"\x01" + nodes.pop() + root)
        return root


def leaf_line(line):
    value = json.loads(line)
    if "expired" in value:
        stub = value["expired"]
    else:
        kind = "read" if value["action"] in READS else "act"
        stub = {"number": value["number"], "at": value["at"], "kind": kind, "body": sha256(line).hex()}
    stub["format"] = "holdfast-audit-leaf/1"
    return json.dumps(stub, sort_keys=True, separators=(",", ":")).encode()


def main(path, trust_root):
    keys, tile, checked, ended = [], [], 0, False
    with open(path, "rb") as export:
        header = json.loads(export.readline())["export"]
        tree = Tree(header["from"], [b64(part) for part in header["frontier"]])
        for line in export:
            if ended:
                raise SystemExit("a line stands behind the last one")
            line = line.rstrip(b"\n")
            if line.startswith((b'{"action":', b'{"expired":')):
                leaf = sha256(b"\x00" + leaf_line(line))
                if not tile or tile.pop(0) != leaf:
                    raise SystemExit(f"the entry at position {tree.size} is not what was written")
                tree.append(leaf)
                continue
            value = json.loads(line)
            if tile:
                raise SystemExit(f"the entry at position {tree.size} is gone")
            if "certificate" in value:
                repository = json.loads(value["certificate"].split("\n")[0])["repository"]
                keys.append(certified_key(value["certificate"], b64(trust_root), repository))
            elif "tile" in value:
                hashes = b64(value["tile"]["hashes"])
                tile = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
            elif "checkpoint" in value:
                size, root, _ = check_note(value["checkpoint"], keys)
                if size != tree.size or root != tree.root():
                    raise SystemExit(f"the checkpoint at {size} entries does not fit")
                checked += 1
            elif "end" in value:
                ended = True
    if not ended:
        raise SystemExit("the file was cut")
    print(json.dumps({"size": tree.size, "checkpoints": checked}))


main(*sys.argv[1:])
