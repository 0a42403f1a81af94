/**
 * The upload of an update, piece by piece. The appliance keeps what came and says where to go on: after a stumbling network, a
 * pause, a reload of the page (the file is chosen again then), or from another computer. It goes on while the person looks elsewhere.
 */
import { createRateMeter } from '../lib/rate.ts';
import { asApiError, isAbort, type ApiError } from './client.ts';
import {
  beginBundleUpload,
  discardBundleUpload,
  getBundleUpload,
  sendBundlePiece,
  type BundleUpload,
  type CheckedBundle,
} from './host.ts';
import { patiently } from './patience.ts';

const PIECE_BYTES = 8 * 1024 * 1024;
/** Of the first and of the last bytes: a bundle's signature is at its end. The command line counts the same way. */
const FINGERPRINT_BYTES = 1024 * 1024;

/** `idle`: nothing is sent from here; what the appliance has of an upload is `kept`. */
type State = 'idle' | 'sending' | 'paused' | 'failed';

let state = $state<State>('idle');
let kept = $state.raw<BundleUpload>();
let sent = $state({ bytes: 0, bytesPerSecond: 0, leftMs: undefined as number | undefined });
let error = $state.raw<ApiError>();
let file: File | undefined;
let stop = new AbortController();

export const bundleUpload = {
  get state(): State {
    return state;
  },
  /** What the appliance has of an upload that is not whole. */
  get kept(): BundleUpload | undefined {
    return kept;
  },
  get sent(): typeof sent {
    return sent;
  },
  get error(): ApiError | undefined {
    return error;
  },
  /** Whether the file is at hand here, so that it can go on without being chosen again. */
  get atHand(): boolean {
    return state === 'sending' || state === 'paused' || state === 'failed';
  },
  /** Asks the appliance, unless this page is sending. */
  async look(signal?: AbortSignal): Promise<void> {
    if (state !== 'idle') return;
    const { upload } = await getBundleUpload(signal);
    kept = upload ?? undefined;
    if (upload) sent = { bytes: upload.offset, bytesPerSecond: 0, leftMs: undefined };
  },
  /** Begins with a file, or goes on with the same one. @returns the update once it is whole and good; undefined when it rests. */
  send(chosen: File): Promise<CheckedBundle | undefined> {
    file = chosen;
    return run(chosen);
  },
  resume(): Promise<CheckedBundle | undefined> {
    return file === undefined ? Promise.resolve(undefined) : run(file);
  },
  pause(): void {
    if (state !== 'sending') return;
    state = 'paused';
    stop.abort();
  },
  /** Gives up what came so far. */
  async discard(): Promise<void> {
    state = 'paused';
    stop.abort();
    const { upload } = await getBundleUpload();
    if (upload) await discardBundleUpload(upload.id);
    rest();
  },
};

function rest(): void {
  state = 'idle';
  kept = error = file = undefined;
}

async function run(chosen: File): Promise<CheckedBundle | undefined> {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  state = 'sending';
  error = undefined;
  try {
    const begun = await beginBundleUpload({
      name: chosen.name,
      sizeBytes: chosen.size,
      fingerprint: await fingerprintOf(chosen),
    });
    signal.throwIfAborted();
    const bundle = await sendAll(chosen, begun, signal);
    rest();
    return bundle;
  } catch (cause) {
    if (isAbort(cause)) return undefined;
    await refused(asApiError(cause));
    return undefined;
  }
}

async function sendAll(chosen: File, begun: BundleUpload, signal: AbortSignal): Promise<CheckedBundle> {
  const meter = createRateMeter();
  const tell = (bytes: number): void => {
    sent = { bytes, ...meter(bytes, chosen.size, performance.now()) };
  };
  kept = begun;
  let offset = begun.offset;
  for (;;) {
    tell(offset);
    const taken = await patiently(signal, async () => {
      const at = offset;
      try {
        const piece = chosen.slice(at, at + PIECE_BYTES);
        return await sendBundlePiece(begun.id, at, piece, { signal, onSent: (bytes) => tell(at + bytes) });
      } catch (cause) {
        // Of a piece that broke off, the appliance keeps what came.
        const { upload } = await getBundleUpload(signal);
        if (upload?.id === begun.id) offset = upload.offset;
        throw cause;
      }
    });
    if (taken.bundle) return taken.bundle;
    kept = taken.upload;
    offset = taken.upload.offset;
  }
}

/** What was refused for good is not kept there either; what only broke off is. */
async function refused(cause: ApiError): Promise<void> {
  error = cause;
  const there = await getBundleUpload().catch(() => undefined);
  const other = there?.upload && (there.upload.sizeBytes !== file?.size || cause.code === 'conflict');
  if (there !== undefined) kept = there.upload ?? undefined;
  state = there !== undefined && (there.upload === null || other) ? 'idle' : 'failed';
}

async function fingerprintOf(chosen: File): Promise<string> {
  const parts = [
    chosen.slice(0, FINGERPRINT_BYTES),
    chosen.slice(Math.max(0, chosen.size - FINGERPRINT_BYTES)),
  ];
  const digest = await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
