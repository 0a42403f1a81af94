import type { RepositoryStatus } from '../keys/index.ts';

/** Whether this appliance keeps the key to what was taken then: of a snapshot counts the generation of keys that was in use. */
export function opensItself({ generations }: Pick<RepositoryStatus, 'generations'>, takenAt: Date): boolean {
  const of = generations.findLast((one) => new Date(one.createdAt) <= takenAt) ?? generations[0];
  return of?.testIdentity === true;
}
