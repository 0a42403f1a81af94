/**
 * A thread's open packs and their way to the target: a full pack is written and synced while the next one fills, and its
 * stored bytes are read back and hashed behind that. Memory is bounded by the number of pack buffers.
 */
import { crashPoint } from '../../lib/crash-point.ts';
import { HoldfastError } from '../../lib/errors.ts';
import type { Target, WrittenPack } from '../engine.ts';
import {
  createPackBuilder,
  packBufferBytes,
  packName,
  preparePackHeader,
  type PackBuilder,
  type PackKind,
} from './pack.ts';
import { createFirstFailure } from './first-failure.ts';

/** Of each kind: one that fills and one on its way. Tree packs are rarer, and their one buffer waits for its way. */
const BUFFERS: Record<PackKind, number> = { data: 2, tree: 1 };
/** Tree packs hold file lists, of which a day adds little; larger buffers would be idle memory in every thread. */
const MOST_TREE_BYTES = 4 * 1024 * 1024;
/** Packs that may wait to be read back. */
const READ_BACK_BEHIND = 3;

export interface PackStore {
  /** Takes the frame at once; resolves when the next one may come. @throws what failed on the way to the target. */
  add(kind: PackKind, id: Uint8Array, frame: Uint8Array, originalLength: number): Promise<void>;
  /** Closes what is open; resolves when every pack is stored and read back. */
  flush(): Promise<void>;
}

interface OpenPack {
  builder: PackBuilder;
  buffer: Buffer;
}

export function openPackStore(options: {
  target: Target;
  recipient: string;
  generation: number;
  packBytes: number;
  /** A pack is durable. */
  onWritten: (sizeBytes: number) => void;
  /** A pack is durable and its stored bytes were read back. */
  onStored: (pack: WrittenPack) => void;
}): PackStore {
  const { target, recipient, generation, packBytes } = options;
  const open = new Map<PackKind, OpenPack>();
  const free: Record<PackKind, Buffer[]> = { data: [], tree: [] };
  const allocated: Record<PackKind, number> = { data: 0, tree: 0 };
  const limits: Record<PackKind, number> = { data: packBytes, tree: Math.min(packBytes, MOST_TREE_BYTES) };
  let nextHeader = preparePackHeader(recipient);
  nextHeader.catch(() => undefined);
  const waiting: Record<PackKind, ((buffer: Buffer) => void)[]> = { data: [], tree: [] };
  const onTheirWay = new Set<Promise<void>>();
  const failure = createFirstFailure();

  const takeBuffer = async (kind: PackKind): Promise<Buffer> => {
    const ready = free[kind].pop();
    if (ready !== undefined) return ready;
    if (allocated[kind] < BUFFERS[kind]) {
      allocated[kind]++;
      return Buffer.allocUnsafeSlow(packBufferBytes(limits[kind]));
    }
    return new Promise((resolve) => waiting[kind].push(resolve));
  };
  const giveBuffer = (kind: PackKind, buffer: Buffer): void => {
    const next = waiting[kind].shift();
    if (next === undefined) free[kind].push(buffer);
    else next(buffer);
  };

  const openPack = async (kind: PackKind): Promise<OpenPack> => {
    const present = open.get(kind);
    if (present !== undefined) return present;
    const buffer = await takeBuffer(kind);
    const age = await nextHeader;
    nextHeader = preparePackHeader(recipient);
    nextHeader.catch(() => undefined);
    const opened = {
      buffer,
      builder: createPackBuilder({ buffer, packBytes: limits[kind], kind, generation, age }),
    };
    open.set(kind, opened);
    return opened;
  };

  const send = async ({ builder, buffer }: OpenPack): Promise<void> => {
    const { pack, bytes } = builder.finish();
    try {
      await target.write(packName(pack.id), bytes);
    } finally {
      giveBuffer(pack.kind, buffer);
    }
    crashPoint('backups.pack.written');
    options.onWritten(pack.sizeBytes);
    await checkStored(target, pack);
    crashPoint('backups.pack.read-back');
    options.onStored(pack);
  };

  const close = (kind: PackKind): void => {
    const closing = open.get(kind);
    if (closing === undefined) return;
    open.delete(kind);
    const way: Promise<void> = send(closing)
      .catch((error: unknown) => {
        failure.note(error);
      })
      .finally(() => onTheirWay.delete(way));
    onTheirWay.add(way);
  };

  return {
    async add(kind, id, frame, originalLength) {
      failure.check();
      if (open.get(kind)?.builder.fits(frame.length) === false) {
        close(kind);
        while (onTheirWay.size > READ_BACK_BEHIND) await Promise.race(onTheirWay);
        failure.check();
      }
      (await openPack(kind)).builder.add(id, frame, originalLength);
    },
    async flush() {
      for (const kind of [...open.keys()]) close(kind);
      await Promise.all(onTheirWay);
      failure.check();
    },
  };
}

async function checkStored(target: Target, pack: WrittenPack): Promise<void> {
  const found = await target.readBack(packName(pack.id));
  if (found.sha256 === pack.id && found.sizeBytes === pack.sizeBytes) return;
  throw new HoldfastError('integrity_failure', 'The target returned other bytes than it was given', {
    hint: 'Its disk or connection is not to be trusted. Check it, then run verify.',
    detail: packName(pack.id),
  });
}
