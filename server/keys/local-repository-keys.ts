/** Keys of a repository made on the spot, in memory: for tests, the bench and tools. The appliance's own live in keyd. */
import { randomBytes, randomUUID } from 'node:crypto';
import { HoldfastError } from '../lib/errors.ts';
import { generateAgeIdentity } from './age.ts';
import { type BuiltObject, type KeysStatement, buildKeysObject, generationOf } from './keys-object.ts';
import type { ChunkingParameters, RepositoryWriteKeys } from './repository-keys.ts';
import { signStatement } from './signed-object.ts';
import { type SigningKeyPair, createSigningKey } from './trust-root.ts';

/** What a new repository starts with. 48 KiB relation chunks hold six pages; packs fit twice into a worker's memory. */
export const DEFAULT_CHUNKING: ChunkingParameters = {
  fileChunkBytes: 1024 * 1024,
  relationChunkBytes: 48 * 1024,
  packBytes: 16 * 1024 * 1024,
};

/** The content of generation 1 of a new repository, or of a later one. */
export async function createKeysStatement(
  parts: {
    repositoryId: string;
    kits: KeysStatement['kits'];
    testRecipient: string | undefined;
    chunking: ChunkingParameters;
    createdAt: Date;
  } & (
    | { signingKey: Pick<SigningKeyPair, 'id' | 'publicKey'> }
    /** What a re-keyed repository takes along. */
    | { after: { generation: number; signingKeys: KeysStatement['signingKeys'] } }
  ),
): Promise<KeysStatement> {
  const { identity, recipient } = await generateAgeIdentity();
  const at = parts.createdAt.toISOString();
  return {
    repositoryId: parts.repositoryId,
    generation: 'after' in parts ? parts.after.generation + 1 : 1,
    identity,
    recipient,
    kits: parts.kits,
    ...(parts.testRecipient === undefined ? {} : { testRecipient: parts.testRecipient }),
    chunkIdSecret: randomBytes(32).toString('base64'),
    chunking: parts.chunking,
    signingKeys: 'after' in parts ? parts.after.signingKeys : [firstSigningKey(parts.signingKey, at)],
    createdAt: at,
  };
}

function firstSigningKey(key: Pick<SigningKeyPair, 'id' | 'publicKey'>, validFrom: string) {
  return { id: key.id, publicKey: Buffer.from(key.publicKey).toString('base64'), validFrom };
}

/** A second head with the same number would let a target show different people different histories. */
export function staleHead(last: bigint): HoldfastError {
  return new HoldfastError('conflict', `A head with a number up to ${last} was signed before`, {
    hint: 'Another writer may use this repository. Take a number above the last one.',
  });
}

export interface LocalRepositoryKeys {
  /** Complete, the identity of generation 1 included. */
  writeKeys: RepositoryWriteKeys;
  /** The same without the identity, as the appliance's worker has them. */
  writeOnlyKeys: RepositoryWriteKeys;
  keysObject: BuiltObject;
  /** Opens `keysObject`, as a recovery kit does. */
  kit: { id: string; identity: string; recipient: string };
  trustRoot: SigningKeyPair;
  signingKey: SigningKeyPair;
  statement: KeysStatement;
}

/** A trust root, a signing key, a kit and generation 1. */
export async function createLocalRepositoryKeys(
  options: { repositoryId?: string; chunking?: Partial<ChunkingParameters>; createdAt?: Date } = {},
): Promise<LocalRepositoryKeys> {
  const trustRoot = createSigningKey();
  const signingKey = createSigningKey();
  const kit = { id: randomUUID(), ...(await generateAgeIdentity()) };
  const statement = await createKeysStatement({
    repositoryId: options.repositoryId ?? randomUUID(),
    kits: [{ id: kit.id, recipient: kit.recipient }],
    testRecipient: undefined,
    chunking: { ...DEFAULT_CHUNKING, ...options.chunking },
    signingKey,
    createdAt: options.createdAt ?? new Date(0),
  });
  let lastHead = 0n;
  const writeKeysWith = (withIdentity: boolean): RepositoryWriteKeys => ({
    repositoryId: statement.repositoryId,
    trustRoot: trustRoot.publicKey,
    generations: [generationOf(statement, withIdentity)],
    sign: async (signed) => {
      if (signed.repositoryId !== statement.repositoryId) {
        throw new HoldfastError('forbidden', 'This key signs for one repository only');
      }
      if (signed.type === 'head') {
        if (BigInt(signed.number) <= lastHead) throw staleHead(lastHead);
        lastHead = BigInt(signed.number);
      }
      return signStatement(signingKey, signed);
    },
    lastHeadNumber: async () => String(lastHead),
  });
  return {
    writeKeys: writeKeysWith(true),
    writeOnlyKeys: writeKeysWith(false),
    keysObject: await buildKeysObject(statement, trustRoot),
    kit,
    trustRoot,
    signingKey,
    statement,
  };
}
