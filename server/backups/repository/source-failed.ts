/**
 * Of two targets, one of which is read and the other written, tells which has failed: what the source throws says so, by a class of its
 * own. What it says of one object (not there, not whole) stays as it is.
 */
import { HoldfastError, messageOf } from '../../lib/errors.ts';
import type { Target, TargetObject } from '../engine.ts';

/** The target that was to be read from. The one that is written to is not to blame. */
export class SourceFailed extends HoldfastError {
  readonly source: SourceName;

  constructor(source: SourceName, cause: unknown) {
    const known = cause instanceof HoldfastError ? cause : undefined;
    super(known?.code ?? 'internal', `${source.name} cannot be read from: ${messageOf(cause)}`, {
      ...(known?.hint === undefined ? {} : { hint: known.hint }),
      ...(known?.detail === undefined ? {} : { detail: known.detail }),
      cause,
    });
    this.source = source;
  }
}

export interface SourceName {
  id: string;
  name: string;
}

const OF_AN_OBJECT: readonly string[] = ['not_found', 'integrity_failure', 'cancelled'];

/** What is asked of the source, whatever it is. @throws SourceFailed */
export async function askSource<T>(source: SourceName, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    throw blamed(source, error);
  }
}

/** The same target, for reading. */
export function asSource(target: Target, source: SourceName): Target {
  return {
    ...target,
    list: (prefix) => listFrom(target, source, prefix),
    find: (name) => askSource(source, () => target.find(name)),
    read: (name, range) => askSource(source, () => target.read(name, range)),
    readBack: (name) => askSource(source, () => target.readBack(name)),
  };
}

async function* listFrom(target: Target, source: SourceName, prefix: string): AsyncGenerator<TargetObject> {
  try {
    yield* target.list(prefix);
  } catch (error) {
    throw blamed(source, error);
  }
}

function blamed(source: SourceName, error: unknown): unknown {
  const itsOwn = error instanceof HoldfastError && !OF_AN_OBJECT.includes(error.code);
  return itsOwn && !(error instanceof SourceFailed) ? new SourceFailed(source, error) : error;
}
