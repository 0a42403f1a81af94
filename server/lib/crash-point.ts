/**
 * Named durable steps. A crash test replaces the hook through `globalThis` (a module that it loads before the program)
 * and stops the process at the step it chose; in the product the hook is absent and a call costs one property read.
 */
const HOOK = Symbol.for('holdfast.crashPoint');

export function crashPoint(name: string): void {
  (globalThis as { [HOOK]?: (name: string) => void })[HOOK]?.(name);
}
