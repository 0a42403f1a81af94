/** Why no target can be added now; nothing when one can. */
export function whyNoTarget(targets: readonly { state: string }[] | undefined): string | undefined {
  return targets?.some((target) => target.state === 'active')
    ? 'A target is in use already, and this version ships to one at a time: retire it first'
    : undefined;
}
