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

/** One that fills with data, one on its way, one of the rarer tree packs. */
const BUFFERS = 3;
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
  const free: Buffer[] = [];
  let allocated = 0;
  let nextHeader = preparePackHeader(recipient);
  nextHeader.catch(() => undefined);
  const waitingForBuffer: ((buffer: Buffer) => void)[] = [];
  const onTheirWay = new Set<Promise<void>>();
  const failure = createFirstFailure();

  const takeBuffer = async (): Promise<Buffer> => {
    const ready = free.pop();
    if (ready !== undefined) return ready;
    if (allocated < BUFFERS) {
      allocated++;
      return Buffer.allocUnsafeSlow(packBufferBytes(packBytes));
    }
    return new Promise((resolve) => waitingForBuffer.push(resolve));
  };
  const giveBuffer = (buffer: Buffer): void => {
    const waiting = waitingForBuffer.shift();
    if (waiting === undefined) free.push(buffer);
    else waiting(buffer);
  };

  const openPack = async (kind: PackKind): Promise<OpenPack> => {
    const present = open.get(kind);
    if (present !== undefined) return present;
    const buffer = await takeBuffer();
    const age = await nextHeader;
    nextHeader = preparePackHeader(recipient);
    nextHeader.catch(() => undefined);
    const opened = { buffer, builder: createPackBuilder({ buffer, packBytes, kind, generation, age }) };
    open.set(kind, opened);
    return opened;
  };

  const send = async ({ builder, buffer }: OpenPack): Promise<void> => {
    const { pack, bytes } = builder.finish();
    try {
      await target.write(packName(pack.id), bytes);
    } finally {
      giveBuffer(buffer);
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
