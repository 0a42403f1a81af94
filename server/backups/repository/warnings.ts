/** What a reader of a repository must be told. Nothing here stops a read; some of it stops a writer until a person said yes. */
export type WarningCode =
  /** A head that we have seen is gone, and an older one is the newest now. */
  | 'older_head'
  /** Two valid heads of one number: two writers were at work. */
  | 'forked_head'
  /** There are snapshots or index objects, and no valid head. */
  | 'no_head'
  /** The head before the newest is gone or is another one than it names. */
  | 'broken_chain'
  /** The newest head names an object that is not there. */
  | 'missing_object'
  /** An object that is not what its name says, or not signed by this appliance. It is ignored. */
  | 'forged_object'
  /** A pack that the index names is not there, or has another size. */
  | 'missing_pack'
  /** A snapshot or index object newer than the newest head: a run that was cut off, or a head that was taken away. */
  | 'unclaimed_object'
  /** A keys object that the given key does not open. */
  | 'unopened_keys'
  /** No keys object is there, so that nobody could restore. */
  | 'missing_keys'
  /** Index objects that this appliance cannot read without the kit. */
  | 'unread_index';

export interface RepositoryWarning {
  code: WarningCode;
  /** Plain words, for a person. */
  message: string;
  /** Names of the objects concerned, at most 20. */
  objects: string[];
  /** How many objects are concerned. */
  count: number;
  /** True when a person must agree before anything is written or restored on this ground. */
  confirm: boolean;
}

const MAX_NAMED = 20;
const MUST_CONFIRM: readonly WarningCode[] = ['older_head', 'forked_head', 'no_head'];

export function makeWarning(
  code: WarningCode,
  message: string,
  objects: readonly string[],
): RepositoryWarning {
  return {
    code,
    message,
    objects: objects.slice(0, MAX_NAMED),
    count: objects.length,
    confirm: MUST_CONFIRM.includes(code),
  };
}
