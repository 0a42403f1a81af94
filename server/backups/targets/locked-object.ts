import { HoldfastError } from '../../lib/errors.ts';

/**
 * What `Target.delete` throws for an object that the target itself keeps, such as one under object lock. It is no failure: prune
 * counts it, says until when, and tries again then.
 */
export class LockedObjectError extends HoldfastError {
  /** Undefined where the target does not say. */
  readonly until: Date | undefined;

  constructor(name: string, until: Date | undefined) {
    super('wrong_state', 'The target keeps this object locked', { detail: name });
    this.until = until;
  }
}
