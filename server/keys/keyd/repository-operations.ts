/** Operations for writing to the repository: keys for the writer, signatures, keyring objects. keyd is no oracle: it composes what it signs. */
import type { Clock } from '../../lib/clock.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { readFileIfPresent } from '../../lib/files.ts';
import { buildKeyringObject } from '../keyring-object.ts';
import { keyringPaths, writeAndReadBack } from '../keyring/layout.ts';
import {
  generationsOf,
  type PublicationRecord,
  type RepositoryClaim,
  type RepositoryRecord,
  trustRootOf,
} from '../keyring/model.ts';
import type { BuiltObject } from '../keys-object.ts';
import { staleHead } from '../local-repository-keys.ts';
import type { ObjectSignature, ObjectStatement } from '../repository-keys.ts';
import { objectName, signStatement } from '../signed-object.ts';
import { makeSigningCertificate } from '../signing-certificate.ts';
import {
  type Arguments,
  choiceArgument,
  numberArgument,
  textArgument,
  textListArgument,
  uuidArgument,
} from './arguments.ts';
import { SIGNABLE } from './permissions.ts';
import type { KeyringStore } from './store.ts';

const DAY_MS = 24 * 3_600_000;
/** Bytes of an object in one answer. */
const OBJECT_PIECE_BYTES = 1024 * 1024;
/** An addition with more changed keys than this, and more than a quarter of all, becomes a new base. */
const MANY_CHANGES = 1_000;
/** A target with more keyring objects than this is not one that we wrote. */
const MAX_PRESENT = 20_000;

interface RepositoryContext {
  store: KeyringStore;
  clock: Clock;
  /** Of the keyring files. */
  directory: string;
}

/** The operations, by name. */
export function repositoryOperations({ store, clock, directory }: RepositoryContext) {
  /** The last addition made by this process, so that the same keys are not written twice. */
  let addition: { epoch: number; keyRevision: number; object: BuiltObject } | undefined;

  function getClaimed(): { repository: RepositoryRecord; claim: RepositoryClaim } {
    const { repository } = store.keyring();
    if (repository?.claim) return { repository, claim: repository.claim };
    throw new HoldfastError('wrong_state', 'This appliance has no backup repository yet', {
      hint: 'Claim the appliance first.',
    });
  }

  function signWith(claim: RepositoryClaim, statement: ObjectStatement): ObjectSignature {
    const privateKey = Buffer.from(claim.signingPrivateKey, 'base64');
    const id = claim.signingKeys.at(-1)?.id ?? '';
    const signature = signStatement({ id, privateKey }, statement);
    privateKey.fill(0);
    return signature;
  }

  async function signObject(statement: ObjectStatement): Promise<ObjectSignature> {
    const { repository, claim } = getClaimed();
    if (statement.repositoryId !== repository.repositoryId) {
      throw new HoldfastError('forbidden', 'This appliance signs for its own repository only');
    }
    if (statement.type === 'head') {
      // Durable before the signature leaves: a number is signed once, whatever happens.
      const last = BigInt(repository.lastHeadNumber);
      if (BigInt(statement.number) <= last) throw staleHead(last);
      await store.change([
        { kind: 'repository', repository: { ...repository, lastHeadNumber: statement.number } },
      ]);
    }
    return signWith(claim, statement);
  }

  function baseIsDue(
    repository: RepositoryRecord,
    publication: PublicationRecord,
    recipients: string[],
  ): boolean {
    const { changedSinceBase, keys } = store.keyring();
    const ageMs = clock.now().getTime() - Date.parse(publication.baseAt);
    return (
      publication.stale ||
      publication.baseName === '' ||
      Math.abs(ageMs) >= DAY_MS ||
      publication.recipients.join() !== recipients.join() ||
      (changedSinceBase.size > MANY_CHANGES && changedSinceBase.size > keys.size / 4) ||
      repository.kits.length === 0
    );
  }

  /** The base as it was published; undefined when it is not whole any more. */
  async function readBase(publication: PublicationRecord): Promise<BuiltObject | undefined> {
    const bytes = await readFileIfPresent(keyringPaths.published(directory));
    const whole = bytes && objectName(`keyring/${publication.epoch}`, bytes) === publication.baseName;
    return whole ? { name: publication.baseName, bytes } : undefined;
  }

  async function makeBase(recipients: string[]): Promise<BuiltObject> {
    const { repository, claim } = getClaimed();
    const epoch = (repository.publication?.epoch ?? 0) + 1;
    const baseAt = clock.now();
    // Composed before the first await: what changes from here on belongs to the next addition.
    const building = buildKeyringObject({
      keyring: store.keyring(),
      repository,
      epoch,
      addition: 0,
      createdAt: baseAt,
      kits: repository.kits,
      sign: (statement) => signWith(claim, statement),
    });
    const publication = {
      epoch,
      baseName: '',
      baseAt: baseAt.toISOString(),
      stale: false,
      additions: 0,
      recipients,
    };
    await Promise.all([
      building,
      store.change([{ kind: 'repository', repository: { ...repository, publication } }]),
    ]);
    const object = await building;
    await writeAndReadBack(keyringPaths.published(directory), object.bytes, 'keyring.published');
    await recordPublication((now) => ({ ...now, baseName: object.name }));
    return object;
  }

  async function makeAddition(): Promise<BuiltObject> {
    const { repository, claim } = getClaimed();
    const number = (repository.publication?.additions ?? 0) + 1;
    const epoch = repository.publication?.epoch ?? 0;
    const keyRevision = store.keyring().keyRevision;
    const building = buildKeyringObject({
      keyring: store.keyring(),
      repository,
      epoch,
      addition: number,
      createdAt: clock.now(),
      kits: repository.kits,
      sign: (statement) => signWith(claim, statement),
    });
    await Promise.all([building, recordPublication((now) => ({ ...now, additions: number }))]);
    const object = await building;
    addition = { epoch, keyRevision, object };
    return object;
  }

  function recordPublication(change: (now: PublicationRecord) => PublicationRecord): Promise<void> {
    const { repository } = getClaimed();
    if (!repository.publication) throw new HoldfastError('internal', 'There is no keyring base');
    const publication = change(repository.publication);
    return store.change([{ kind: 'repository', repository: { ...repository, publication } }]);
  }

  /** Every object that the target needs for the keyring as it is now. */
  async function compose(present: ReadonlySet<string>): Promise<{ epoch: number; objects: BuiltObject[] }> {
    await store.settled();
    const { repository } = getClaimed();
    const recipients = repository.kits.map((kit) => kit.recipient).sort();
    const { publication } = repository;
    const due = !publication || baseIsDue(repository, publication, recipients);
    const known = due ? undefined : await readBase(publication);
    const base = known ?? (await makeBase(recipients));
    const epoch = getClaimed().repository.publication?.epoch ?? 0;
    const objects = [base];
    if (store.keyring().changedSinceBase.size > 0) {
      const same = addition?.epoch === epoch && addition.keyRevision === store.keyring().keyRevision;
      objects.push(same && addition ? addition.object : await makeAddition());
    }
    return { epoch, objects: objects.filter((object) => !present.has(object.name)) };
  }

  return {
    async repositoryKeys() {
      await store.settled();
      const { repository, claim } = getClaimed();
      return {
        repositoryId: repository.repositoryId,
        trustRoot: repository.trustRoot.publicKey,
        generations: generationsOf(claim).map(
          ({ generation, recipient, chunkIdSecret, chunking, signingKeys }) => ({
            ...{ generation, recipient, chunkIdSecret, chunking, signingKeys },
          }),
        ),
      };
    },

    async keysObject() {
      await store.settled();
      return getClaimed().claim.keysObject;
    },

    async keysObjects() {
      await store.settled();
      return generationsOf(getClaimed().claim).map((one) => one.keysObject);
    },

    sign: (args: Arguments) => signObject(readStatement(args, choiceArgument(args, 'type', SIGNABLE))),

    async signReport(args: Arguments) {
      const { repositoryId } = getClaimed().repository;
      return signObject(readStatement({ ...args, repositoryId }, 'report'));
    },

    /** Composed anew each time from what is kept anyway: a keyring of any age has it. */
    async signingCertificate() {
      await store.settled();
      const { repository, claim } = getClaimed();
      const key = claim.signingKeys.at(-1);
      if (key === undefined) throw new HoldfastError('internal', 'The repository has no signing key');
      const root = trustRootOf(repository);
      const certificate = await makeSigningCertificate(repository.repositoryId, key, root);
      root.privateKey.fill(0);
      return certificate;
    },

    async lastHeadNumber() {
      await store.settled();
      return getClaimed().repository.lastHeadNumber;
    },

    keyringObjects: (args: Arguments) =>
      store.exclusive(async () => {
        const present = textListArgument(args, 'present', { items: MAX_PRESENT, length: 200 });
        const { epoch, objects } = await compose(new Set(present));
        return { epoch, objects: objects.map(({ name, bytes }) => ({ name, sizeBytes: bytes.length })) };
      }),

    /** A piece of an object that `keyringObjects` named. */
    async readObject(args: Arguments) {
      const name = textArgument(args, 'name', 200);
      const offset = numberArgument(args, 'offset', { from: 0, to: Number.MAX_SAFE_INTEGER });
      const publication = getClaimed().repository.publication;
      const object =
        addition?.object.name === name ? addition.object : publication && (await readBase(publication));
      if (object?.name !== name) throw new HoldfastError('not_found', 'This keyring object was superseded');
      return object.bytes.toString(
        'base64',
        offset,
        Math.min(object.bytes.length, offset + OBJECT_PIECE_BYTES),
      );
    },
  };
}

function readStatement(args: Arguments, type: ObjectStatement['type']): ObjectStatement {
  const number = textArgument(args, 'number', 100);
  const sha256 = textArgument(args, 'sha256', 64);
  const numbered = type === 'report' || type === 'wal' ? /^[0-9A-Za-z._-]{1,100}$/ : /^(0|[1-9]\d{0,18})$/;
  if (!numbered.test(number) || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw new HoldfastError('invalid_input', 'This is not a statement that can be signed');
  }
  return { type, repositoryId: uuidArgument(args, 'repositoryId'), number, sha256 };
}
