#!/usr/bin/env python3
"""Restores from a Holdfast backup repository without Holdfast.

Needs a copy of the repository (a folder), a recovery kit (JSON or text), Python 3.9 or later with the package
`cryptography`, and the commands `age` and `zstd`. Formats: FORMAT.md.

  kit-restore.py --target DIR --kit FILE list
  kit-restore.py --target DIR --kit FILE restore SNAPSHOT --section NAME --to NEWDIR
  kit-restore.py --target DIR --kit FILE files SNAPSHOT --to NEWDIR
  kit-restore.py --target DIR --kit FILE keyring

`restore` writes one section as it was. For the section of a database it also prepares the folder so that stock PostgreSQL
of the same major version, started on it, recovers to the snapshot's restore point. `files` writes the files that people
keep in the appliance, decrypted, under their own names. SNAPSHOT is a number, a start of an id, or `latest`.

Nothing is believed that does not chain to the trust root in the kit. Secrets go to `age` by standard input, never by
arguments or files. One file on purpose: it travels with the kit. Exit codes: 0 done, 1 error, 2 usage, 3 partly done, 10 no repository, 12 wrong kit.
"""
import argparse
import base64
import hashlib
import hmac
import json
import os
import re
import stat
import struct
import subprocess
import sys
from collections import OrderedDict

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAX_CHUNK_BYTES = 8 * 1024 * 1024
MAX_CACHED_BYTES = 384 * 1024 * 1024
SIGNATURE_LINE = re.compile(rb'\{"signature":"([A-Za-z0-9+/]{85}[AQgw]==)","keyId":"([0-9a-f]{16})"\}\n$')
# What a signed object may name in `must`; anything else ends the reading.
KNOWN_FEATURES = {'expired'}
# Of a snapshot that has lost a part besides these, only these are left.
SMALL_PARTS = ('system', 'appliance')
IDENTITY = re.compile(r'AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{58}')


class Failure(Exception):
    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


class Newer(Failure):
    pass


def note(message):
    print(message, file=sys.stderr)


# ---- tools ----------------------------------------------------------------------------------------------------------


def run_tool(arguments, data):
    try:
        done = subprocess.run(arguments, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except FileNotFoundError:
        raise Failure(f'The command {arguments[0]} is needed and was not found') from None
    if done.returncode != 0:
        raise Failure(f'{arguments[0]} failed: {done.stderr.decode(errors="replace").strip()[:500]}')
    return done.stdout


def age_decrypt(path, identities):
    """Decrypts a stored object with stock age; the identities go in by standard input."""
    return run_tool(['age', '--decrypt', '-i', '-', path], ('\n'.join(identities) + '\n').encode())


def zstd_decompress(data):
    return run_tool(['zstd', '-d', '-c', '-q'], data)


# ---- signed objects -------------------------------------------------------------------------------------------------


def key_id(public_key):
    return hashlib.sha256(public_key).hexdigest()[:16]


def verify_object(plaintext, kind, repository, number, keys):
    """Checks the signature line and the header. Returns the JSON lines between them."""
    match = SIGNATURE_LINE.search(plaintext)
    if not match or (match.start() > 0 and plaintext[match.start() - 1 : match.start()] != b'\n'):
        raise Failure(f'A {kind} object does not end in a signature')
    body = plaintext[: match.start()]
    public_key = keys.get(match.group(2).decode())
    statement = f'holdfast/1\n{kind}\n{repository}\n{number}\n{hashlib.sha256(body).hexdigest()}\n'.encode()
    try:
        if public_key is None:
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(public_key).verify(base64.b64decode(match.group(1)), statement)
    except InvalidSignature:
        raise Failure(f'The signature of {kind} {number} is not valid') from None
    lines = [json.loads(line) for line in body.split(b'\n')[:-1]]
    header = lines.pop(0)
    if header.get('version') != 1 or set(header.get('must', [])) - KNOWN_FEATURES:
        raise Newer('This repository was written by a newer Holdfast; use a newer script')
    if header.get('type') != kind or header.get('repository') != repository or str(header.get('number')) != number:
        raise Failure(f'A {kind} object is not what its name says')
    return lines


class Repository:
    """The chain from the kit to everything: keys, newest head, index."""

    def __init__(self, target, kit):
        self.target = target
        self.kit = kit
        self.id = kit['repositoryId']
        self.problems = []
        self.generations = {}
        self.signing_keys = {}
        self._open_keys()
        self.identities = [one['identity'] for one in self.generations.values()]
        self.head_name, self.head = self._newest_head()
        self.chunks = {}
        self.packs = {}
        for number, digest in self.head['indexes']:
            self._read_index(number, digest)
        self._cache = OrderedDict()
        self._cached = 0

    def path(self, name):
        return os.path.join(self.target, *name.split('/'))

    def names(self, kind):
        try:
            return sorted(name for name in os.listdir(self.path(kind)) if not name.startswith('.'))
        except FileNotFoundError:
            return []

    def stored(self, name, digest):
        try:
            with open(self.path(name), 'rb') as file:
                data = file.read()
        except FileNotFoundError:
            raise Failure(f'{name} is missing') from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise Failure(f'{name} was changed after it was written')
        return data

    def _open_keys(self):
        found = [re.fullmatch(r'(\d+)-([0-9a-f]{64})\.age', name) for name in self.names('keys')]
        found = [match for match in found if match]
        if not found:
            raise Failure(f'There is no backup repository in {self.target}', 10)
        root = base64.b64decode(self.kit['trustRoot'])
        for match in found:
            name = 'keys/' + match.group(0)
            try:
                self.stored(name, match.group(2))
                plaintext = age_decrypt(self.path(name), [self.kit['ageIdentity']])
                [statement] = verify_object(plaintext, 'keys', self.id, match.group(1), {key_id(root): root})
                if statement['repositoryId'] != self.id or str(statement['generation']) != match.group(1):
                    raise Failure('it belongs to another repository')
            except Failure as failure:
                self.problems.append(f'{name} is not used: {failure}')
                continue
            self.generations[statement['generation']] = statement
            for key in statement['signingKeys']:
                public_key = base64.b64decode(key['publicKey'])
                self.signing_keys[key_id(public_key)] = public_key
        if not self.generations:
            detail = '; '.join(self.problems)
            raise Failure(f'This kit does not open this repository ({detail})', 12)

    def _newest_head(self):
        heads = [re.fullmatch(r'(\d+)-([0-9a-f]{64})', name) for name in self.names('heads')]
        heads = sorted((int(match.group(1)), match.group(2)) for match in heads if match)
        for number, digest in reversed(heads):
            name = f'heads/{number}-{digest}'
            try:
                lines = verify_object(self.stored(name, digest), 'head', self.id, str(number), self.signing_keys)
                return name, next(line['head'] for line in lines if 'head' in line)
            except Newer:
                # An earlier head would tell of what is not there any more.
                raise
            except (Failure, StopIteration, ValueError) as failure:
                self.problems.append(f'{name} is ignored: {failure}')
        raise Failure('There is no valid head in this repository')

    def open_object(self, kind, name, digest, number):
        self.stored(name, digest)
        plaintext = age_decrypt(self.path(name), self.identities)
        return verify_object(plaintext, kind, self.id, str(number), self.signing_keys)

    def _read_index(self, number, digest):
        name = f'index/{number}-{digest}.age'
        try:
            lines = self.open_object('index', name, digest, number)
        except Failure as failure:
            self.problems.append(f'{name} is not used: {failure}')
            return
        for line in lines:
            if 'pack' not in line:
                continue
            pack = line['pack']
            self.packs[pack] = line
            for position, (chunk, _offset, _stored, _original) in enumerate(line['chunks']):
                # Of two packs with one chunk the newer counts: it may have been stored again for good reason.
                self.chunks[chunk] = (pack, position)

    # -- snapshots --

    def snapshots(self):
        for number, digest in self.head['snapshots']:
            try:
                lines = self.open_object('snapshot', f'snapshots/{number}-{digest}.age', digest, number)
            except Failure as failure:
                self.problems.append(str(failure))
                continue
            snapshot = next(line['snapshot'] for line in lines if 'snapshot' in line)
            snapshot.update(number=number, id=digest)
            sections = [line['section'] for line in lines if 'section' in line]
            gone = self.expired(number, digest)
            snapshot['sections'] = [section for section in sections if section['name'] not in gone]
            snapshot['expired'] = [dict(gone[section['name']], name=section['name']) for section in sections if section['name'] in gone]
            yield snapshot

    def expired(self, number, digest):
        """Parts of a snapshot that the head says are kept no more: since when and why, by their names."""
        gone = {}
        for parts in self.head.get('expired', []):
            if parts['snapshot'] == [number, digest]:
                for name in parts['sections']:
                    gone.setdefault(name, {'at': parts['at'], 'because': parts['because']})
        return gone

    def snapshot(self, wanted):
        found = list(self.snapshots())
        if wanted == 'latest':
            # The newest is meant to be restored from: not one of which only small parts are left.
            whole = [one for one in found if all(part['name'] in SMALL_PARTS for part in one['expired'])]
            found = (whole or found)[-1:]
        else:
            found = [
                one
                for one in found
                if str(one['number']) == wanted or (len(wanted) >= 8 and one['id'].startswith(wanted))
            ]
        if len(found) != 1:
            raise Failure(f'There is no such snapshot that this kit opens, or several start like that: {wanted}')
        return found[0]

    # -- chunks --

    def pack_chunks(self, pack):
        """The chunks of a pack in their order: stored hash checked, decrypted by age, decompressed by zstd."""
        if pack in self._cache:
            self._cache.move_to_end(pack)
            return self._cache[pack]
        line = self.packs[pack]
        name = f'packs/{pack[:2]}/{pack}.age'
        if len(self.stored(name, pack)) != line['sizeBytes']:
            raise Failure(f'{name} has another size than its index says')
        lengths = [chunk[3] for chunk in line['chunks']]
        if any(length > MAX_CHUNK_BYTES for length in lengths):
            raise Failure(f'{name} has a chunk that is too long')
        payload = age_decrypt(self.path(name), [self.generations[line['generation']]['identity']])
        # All frames of a pack follow each other; zstd skips the pack's own index behind them.
        plain = zstd_decompress(payload)
        if len(plain) != sum(lengths):
            raise Failure(f'{name} holds other bytes than its index says')
        chunks, at = [], 0
        for length in lengths:
            chunks.append(plain[at : at + length])
            at += length
        self._cache[pack] = chunks
        self._cached += len(plain)
        while self._cached > MAX_CACHED_BYTES and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= sum(len(chunk) for chunk in dropped)
        return chunks

    def place(self, chunk_id):
        place = self.chunks.get(chunk_id)
        if place is None:
            raise Failure(f'Chunk {chunk_id} is in no index')
        return place

    def chunk(self, chunk_id):
        """A chunk and its SHA-256, compared with its id."""
        pack, position = self.place(chunk_id)
        data = self.pack_chunks(pack)[position]
        digest = hashlib.sha256(data).digest()
        secret = base64.b64decode(self.generations[self.packs[pack]['generation']]['chunkIdSecret'])
        if hmac.new(secret, digest, hashlib.sha256).hexdigest() != chunk_id:
            raise Failure(f'Chunk {chunk_id} is not what its id says')
        return data, digest

    def entries(self, section):
        """The lines of a section's file list, a list per segment."""
        for segment in section['segments']:
            data, digest = self.chunk(segment['chunk'])
            if digest.hex() != segment['sha256']:
                raise Failure('A part of a file list is not the one that the snapshot names')
            yield [json.loads(line) for line in data.split(b'\n')[:-1]]

    def chunk_ids(self, entry):
        yield from entry.get('chunks', [])
        for chunk_list in entry.get('chunkLists', []):
            data, _ = self.chunk(chunk_list)
            for at in range(0, len(data), 32):
                yield data[at : at + 32].hex()

    def content(self, entry):
        """The content of a file in pieces; the hash over all of it is checked at the end."""
        digests = []
        for chunk_id in self.chunk_ids(entry):
            data, digest = self.chunk(chunk_id)
            digests.append(digest)
            yield data
        joined = digests[0] if len(digests) == 1 else hashlib.sha256(b''.join(digests)).digest()
        if joined.hex() != entry.get('hash', joined.hex() if not digests else None):
            raise Failure('the file is not what its hash says')

    def keyring(self):
        """The newest keyring that the head names: every key by its id."""
        names = (self.head.get('keyring') or {}).get('objects', [])
        parsed = [re.fullmatch(r'keyring/(\d+)(?:\+(\d+))?-([0-9a-f]{64})\.age', name) for name in names]
        parsed = sorted((int(m.group(1)), int(m.group(2) or 0), m.group(3), m.group(0)) for m in parsed if m)
        if not parsed:
            return {}
        epoch = parsed[-1][0]
        base = [one for one in parsed if one[0] == epoch and one[1] == 0]
        last = [one for one in parsed if one[0] == epoch and one[1] > 0][-1:]
        keys = {}
        for number, addition, digest, name in base + last:
            self.stored(name, digest)
            plaintext = age_decrypt(self.path(name), [self.kit['ageIdentity']])
            label = f'{number}+{addition}' if addition else str(number)
            for line in verify_object(plaintext, 'keyring', self.id, label, self.signing_keys):
                if line.get('record') == 'drop':
                    keys.pop(line['id'], None)
                elif line.get('record') == 'key':
                    key = keys.setdefault(line['id'], {'versions': {}})
                    key.update({name: line[name] for name in ('id', 'kind', 'workspace', 'subject', 'state')})
                    key['versions'][line['version']] = base64.b64decode(line['material'])
        return keys


# ---- restoring a tree -----------------------------------------------------------------------------------------------


def entry_path(entry):
    raw = entry['path'].encode() if 'path' in entry else base64.b64decode(entry['pathB64'])
    if raw.startswith(b'/') or b'\0' in raw or any(part in (b'.', b'..') for part in raw.split(b'/')):
        raise Failure(f'A path leaves its folder: {raw!r}')
    return raw


def make_new_folder(path):
    os.makedirs(path, mode=0o700, exist_ok=True)
    if os.listdir(path):
        raise Failure(f'{path} is not empty; give a new folder')


def write_file(path, pieces, holes=()):
    with open(path, 'xb') as file:
        position = 0
        for data in pieces:
            start = position
            for offset, length in holes:
                end = offset + length
                if end <= start or offset >= position + len(data):
                    continue
                file.seek(start)
                file.write(data[start - position : max(start, offset) - position])
                start = min(end, position + len(data))
            file.seek(start)
            file.write(data[start - position :])
            position += len(data)
        file.truncate(position)
        file.flush()
        os.fsync(file.fileno())


class TreeRestorer:
    def __init__(self, repository, to):
        self.repository = repository
        self.root = os.fsencode(to)
        self.problems = []
        self.count = 0
        self.linked = {}
        self.late = []

    def problem(self, path, reason):
        self.problems.append(f'{os.fsdecode(path)}: {reason}')

    def restore(self, section):
        for lines in self.repository.entries(section):
            files = []
            for entry in lines:
                path = os.path.join(self.root, entry_path(entry)) if entry_path(entry) else self.root
                if entry['type'] == 'directory':
                    if path != self.root:
                        os.mkdir(path, 0o700)
                    self.late.append((path, entry))
                elif entry['type'] == 'file':
                    files.append((path, entry))
                else:
                    self.late.append((path, entry))
            for path, entry in sorted(files, key=lambda one: self.order(one[1])):
                self.restore_file(path, entry)
        # Links and the marks of folders come last: nothing is ever written through a link.
        for path, entry in reversed(self.late):
            try:
                self.finish(path, entry)
            except OSError as error:
                self.problem(path, error.strerror)

    def order(self, entry):
        first = next(iter(entry.get('chunks') or entry.get('chunkLists') or []), None)
        return self.repository.chunks.get(first, ('', 0))

    def restore_file(self, path, entry):
        group = entry.get('linkGroup')
        try:
            if group in self.linked:
                os.link(self.linked[group], path)
            else:
                write_file(path, self.repository.content(entry), entry.get('holes', ()))
                self.set_marks(path, entry)
            if group is not None:
                self.linked.setdefault(group, path)
            self.count += 1
        except (Failure, OSError) as error:
            if os.path.lexists(path):
                os.unlink(path)
            self.problem(path, error)

    def finish(self, path, entry):
        kind = entry['type']
        if kind == 'symlink':
            target = entry['target'].encode() if 'target' in entry else base64.b64decode(entry['targetB64'])
            os.symlink(target, path)
        elif kind == 'fifo':
            os.mkfifo(path, 0o600)
        elif kind in ('char-device', 'block-device'):
            form = stat.S_IFCHR if kind == 'char-device' else stat.S_IFBLK
            os.mknod(path, form | 0o600, int(entry['rdev']))
        elif kind != 'directory':
            self.problem(path, f'a {kind} is not restored')
            return
        self.set_marks(path, entry)

    def set_marks(self, path, entry):
        is_link = entry['type'] == 'symlink'
        if os.geteuid() == 0 and 'uid' in entry and 'gid' in entry:
            os.chown(path, entry['uid'], entry['gid'], follow_symlinks=False)
        if 'mode' in entry and not is_link:
            os.chmod(path, entry['mode'] & 0o7777)
        if 'mtime' in entry:
            os.utime(path, ns=(int(entry['mtime']), int(entry['mtime'])), follow_symlinks=False)


def prepare_database(folder, facts):
    """Makes stock PostgreSQL recover to the restore point when it is started on this folder."""
    settings = {
        'restore_command': 'false',
        'recovery_target_name': facts['restorePoint'],
        'recovery_target_action': 'promote',
        'recovery_target_timeline': 'current',
        'hot_standby': 'off',
        'archive_mode': 'off',
        'shared_preload_libraries': '',
    }
    if not re.fullmatch(r'[A-Za-z0-9_.-]{1,63}', facts['restorePoint']):
        raise Failure('The snapshot names an impossible restore point')
    with open(os.path.join(folder, 'postgresql.auto.conf'), 'w', encoding='utf-8') as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    with open(os.path.join(folder, 'recovery.signal'), 'w', encoding='utf-8'):
        pass
    for name in ('standby.signal', 'postmaster.pid', 'postmaster.opts'):
        if os.path.exists(os.path.join(folder, name)):
            os.unlink(os.path.join(folder, name))
    os.chmod(folder, 0o700)
    note(f'Start PostgreSQL {facts.get("major", "")} on it, as the user that owns the folder:')
    note(f'  chown -R postgres: {folder}')
    note(f'  pg_ctl -D {folder} -o "-c listen_addresses= -c unix_socket_directories=/tmp" -w start')
    note(f'It recovers to the restore point {facts["restorePoint"]}, then opens the database {facts.get("database", "")}.')


# ---- files under their own names ------------------------------------------------------------------------------------


def derive_key(material, purpose):
    info = f'holdfast/{purpose}/1'.encode()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(material)


def json_bytes(parts):
    return json.dumps(parts, separators=(',', ':'), ensure_ascii=False).encode()


def open_field(key, purpose, context, sealed):
    """Opens a sealed value: 0x01, key version, nonce, AES-256-GCM."""
    if key is None:
        raise Failure('its key is not in the keyring (it may have been destroyed)')
    if len(sealed) < 33 or sealed[0] != 1:
        raise Failure('it is not a sealed value')
    material = key['versions'].get(struct.unpack('>I', sealed[1:5])[0])
    if material is None:
        raise Failure('its key version is not in the keyring')
    try:
        cipher = AESGCM(derive_key(material, purpose))
        return cipher.decrypt(sealed[5:17], sealed[17:], json_bytes(['holdfast/field/1', *context]))
    except InvalidTag:
        raise Failure('it was changed or moved') from None


def decrypt_file(stored, key, binding):
    """The content of a stored file (an open file) in pieces: header, sealed segments, sealed footer, its length, a mark."""
    cipher = AESGCM(key)
    size = os.fstat(stored.fileno()).st_size
    try:
        stored.seek(size - 8)
        footer_length, mark = struct.unpack('>I4s', stored.read(8))
        stored.seek(size - 8 - footer_length)
        aad = json_bytes(['holdfast/file-footer/1', *binding])
        footer = json.loads(cipher.decrypt(struct.pack('>IQ', 1, 0), stored.read(footer_length), aad))
        stored.seek(0)
        if stored.read(4) != b'HFF1' or mark != b'HFE1' or size != 16 + footer_length + sum(footer['segments']):
            raise Failure('the stored file is cut short')
        stored.seek(8)
        digest, total = hashlib.sha256(), 0
        for number, length in enumerate(footer['segments']):
            flags, sealed_length = struct.unpack('>BI', stored.read(5))
            last = '1' if number == len(footer['segments']) - 1 else '0'
            aad = json_bytes(['holdfast/file/1', *binding, str(number), str(flags), last])
            data = cipher.decrypt(struct.pack('>IQ', 0, number), stored.read(length - 5), aad)
            if sealed_length != length - 5:
                raise Failure('a part of the stored file has another length')
            if flags & 1:
                data = zstd_decompress(data)
            digest.update(data)
            total += len(data)
            yield data
    except (InvalidTag, OSError, struct.error):
        raise Failure('the stored file was changed or is cut short') from None
    if footer['sizeBytes'] != total or footer['sha256'] != digest.hexdigest():
        raise Failure('the stored file does not agree with its footer')


def section_of(snapshot, name):
    for section in snapshot['sections']:
        if section['name'] == name:
            return section
    names = ', '.join(section['name'] for section in snapshot['sections'])
    for part in snapshot['expired']:
        if part['name'] == name:
            raise Failure(
                f'Of this snapshot the part {name} is kept no more since {part["at"][:10]}: {part["because"]}; what is left: {names}'
            )
    raise Failure(f'This snapshot has no section {name}; it has: {names}')


class NamedFiles:
    """The files that people keep in the appliance, as the section `appliance` lists them and `files` stores them."""

    def __init__(self, repository, snapshot, to):
        self.repository = repository
        self.snapshot = snapshot
        self.root = to
        self.keys = repository.keyring()
        if not self.keys:
            raise Failure('The repository holds no keyring that this kit opens')
        self.problems = []
        self.count = 0
        self.taken = set()

    def read_lines(self, entries, wanted):
        for path in sorted(entries):
            if wanted(path):
                text = b''.join(self.repository.content(entries[path]))
                yield from (json.loads(line) for line in text.split(b'\n') if line)

    def workspace_key(self, workspace):
        for key in self.keys.values():
            if key['kind'] == 'workspace' and key['workspace'] == workspace:
                return key
        return None

    def open_name(self, kind, workspace, object_id, sealed):
        try:
            context = [kind, workspace, '', object_id, '']
            return open_field(self.workspace_key(workspace), 'names', context, base64.b64decode(sealed)).decode()
        except (Failure, UnicodeDecodeError) as failure:
            self.problems.append(f'The name of {object_id} does not open: {failure}')
            return f'unreadable-{object_id[:8]}'

    def safe_path(self, folder, name):
        """A path for a name that is free, inside the folder."""
        if name in ('', '.', '..') or '/' in name or '\0' in name:
            name = name.replace('/', '_').replace('\0', '_').strip('.') or 'unnamed'
        path, number = os.path.join(folder, name), 2
        while path in self.taken:
            path, number = os.path.join(folder, f'{name} ({number})'), number + 1
        self.taken.add(path)
        return path

    def restore(self):
        lists = self.entries_of('appliance')
        folders = {}
        for one in self.read_lines(lists, lambda path: path == 'workspaces.jsonl'):
            name = self.open_name('workspace-name', one['id'], one['id'], one['nameSealed'])
            folders[one['rootFolderId']] = self.safe_path(self.root, name)
            os.mkdir(folders[one['rootFolderId']], 0o700)
        nodes = list(self.read_lines(lists, lambda path: path.startswith('nodes/')))
        self.make_folders(folders, [node for node in nodes if node['kind'] == 'folder'])
        stored = self.entries_of('files')
        files = [node for node in nodes if node['kind'] == 'file']
        for node in sorted(files, key=lambda node: self.place_of(stored, node)):
            folder = folders.get(node['parentId'])
            if folder is None:
                self.problems.append(f'File {node["id"]} is in no folder')
            else:
                self.restore_node(stored, node, folder)

    def entries_of(self, section):
        entries = {}
        for lines in self.repository.entries(section_of(self.snapshot, section)):
            entries.update((entry.get('path', ''), entry) for entry in lines if entry['type'] == 'file')
        return entries

    def make_folders(self, folders, nodes):
        waiting = {node['id']: node for node in nodes if node['id'] not in folders}
        while waiting:
            ready = [node for node in waiting.values() if node['parentId'] in folders]
            if not ready:
                self.problems.append(f'{len(waiting)} folders are in no folder')
                return
            for node in ready:
                name = self.open_name('node-name', node['workspaceId'], node['id'], node['nameSealed'])
                folders[node['id']] = self.safe_path(folders[node['parentId']], name)
                os.mkdir(folders[node['id']], 0o700)
                del waiting[node['id']]

    def entry_of(self, stored, node):
        content = node['file']['contentId']
        return stored.get(f'{content[:2]}/{content}')

    def place_of(self, stored, node):
        entry = self.entry_of(stored, node) or {}
        first = next(iter(entry.get('chunks') or entry.get('chunkLists') or []), None)
        return self.repository.chunks.get(first, ('', 0))

    def restore_node(self, stored, node, folder):
        file = node['file']
        path = self.safe_path(folder, self.open_name('node-name', node['workspaceId'], node['id'], node['nameSealed']))
        temporary = os.path.join(self.root, '.holdfast-restoring')
        binding = [node['workspaceId'], file['subjectKeyId'], file['contentId'], str(file['version'])]
        try:
            entry = self.entry_of(stored, node)
            if entry is None:
                raise Failure('its content is not in the snapshot')
            wrapped = base64.b64decode(file['wrappedKey'])
            key = open_field(self.keys.get(file['subjectKeyId']), 'wrap', ['file-key', *binding], wrapped)
            write_file(temporary, self.repository.content(entry))
            with open(temporary, 'rb') as sealed:
                write_file(path, decrypt_file(sealed, key, binding))
            os.utime(path, ns=(int(node['mtimeNs']), int(node['mtimeNs'])))
            if node.get('mode') is not None:
                os.chmod(path, node['mode'] & 0o777)
            self.count += 1
        except (Failure, OSError) as error:
            if os.path.exists(path):
                os.unlink(path)
            self.problems.append(f'{path}: {error}')
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)


# ---- the kit and the commands ---------------------------------------------------------------------------------------


def read_kit(path):
    """The kit as JSON, or as the text form, which holds the same JSON fields as `name: value` lines and the key at its end."""
    with open(path, encoding='utf-8') as file:
        text = file.read(64 * 1024)
    try:
        kit = json.loads(text)
    except ValueError:
        kit = read_text_kit(text)
    if not isinstance(kit, dict) or not all(kit.get(name) for name in ('repositoryId', 'trustRoot', 'ageIdentity')):
        raise Failure(f'{path} is not a recovery kit', 12)
    return kit


def read_text_kit(text):
    repository = re.search(r'(?i)repository[^:\n]*:\s*([0-9a-f-]{36})', text)
    root = re.search(r'(?i)trust root[^:\n]*:\s*([A-Za-z0-9+/]{43}=)', text)
    # The secret key is on the last two lines.
    identity = IDENTITY.search(''.join(text.split()[-2:]))
    return {
        'repositoryId': repository and repository.group(1),
        'trustRoot': root and root.group(1),
        'ageIdentity': identity and identity.group(0),
    }


def print_problems(problems):
    for problem in problems[:1000]:
        note(f'! {problem}')
    return 3 if problems else 0


def list_snapshots(repository, as_json):
    snapshots = list(repository.snapshots())
    if as_json:
        print(json.dumps({'head': repository.head_name, 'createdAt': repository.head['createdAt'], 'snapshots': snapshots}))
    else:
        print(f'newest head {repository.head_name.split("-")[0]}, made {repository.head["createdAt"]}')
        for one in snapshots:
            print(f'{one["number"]:>6}  {one["id"][:12]}  {one["takenAt"]}')
            for section in one['sections']:
                print(f'        {section["name"]} ({section["kind"]}): {section["fileCount"]} files, {section["sizeBytes"]} bytes')
            for part in one['expired']:
                print(f'        {part["name"]}: kept no more since {part["at"][:10]}, {part["because"]}')
    return print_problems(repository.problems)


def restore_section(repository, options):
    snapshot = repository.snapshot(options.snapshot)
    section = section_of(snapshot, options.section)
    make_new_folder(options.to)
    restorer = TreeRestorer(repository, options.to)
    restorer.restore(section)
    note(f'{restorer.count} files restored from snapshot {snapshot["number"]}')
    if section['kind'] == 'postgres' and not restorer.problems:
        prepare_database(options.to, section['facts'])
    return print_problems(repository.problems + restorer.problems)


def restore_named_files(repository, options):
    snapshot = repository.snapshot(options.snapshot)
    for name in ('appliance', 'files'):
        section_of(snapshot, name)
    make_new_folder(options.to)
    named = NamedFiles(repository, snapshot, options.to)
    named.restore()
    note(f'{named.count} files restored under their own names from snapshot {snapshot["number"]}')
    return print_problems(repository.problems + named.problems)


def show_keyring(repository):
    """What keys there are; never the keys themselves."""
    for key in repository.keyring().values():
        print(json.dumps({name: key[name] for name in ('id', 'kind', 'workspace', 'subject', 'state')}))
    return print_problems(repository.problems)


def main():
    parser = argparse.ArgumentParser(description='Restore from a Holdfast repository with the recovery kit.')
    parser.add_argument('--target', required=True, help='folder of the repository')
    parser.add_argument('--kit', required=True, help='recovery kit, JSON or text')
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('list').add_argument('--json', action='store_true')
    commands.add_parser('keyring')
    for name in ('restore', 'files'):
        command = commands.add_parser(name)
        command.add_argument('snapshot')
        command.add_argument('--to', required=True, help='a new or empty folder')
        if name == 'restore':
            command.add_argument('--section', required=True)
    options = parser.parse_args()
    os.umask(0o077)
    try:
        repository = Repository(options.target, read_kit(options.kit))
        if options.command == 'list':
            return list_snapshots(repository, options.json)
        if options.command == 'keyring':
            return show_keyring(repository)
        if options.command == 'restore':
            return restore_section(repository, options)
        return restore_named_files(repository, options)
    except Failure as failure:
        note(f'error: {failure}')
        return failure.code
    except OSError as error:
        note(f'error: {error}')
        return 1


if __name__ == '__main__':
    sys.exit(main())
