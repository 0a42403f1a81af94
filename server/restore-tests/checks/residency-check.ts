/** Where this copy and the others lie, against the regions that were allowed when the test ran: the report keeps it, signed. */
import type { Residency } from '../../backups/index.ts';
import type { Check } from '../scene.ts';

/** @param targetId of the copy that is tested */
export function residencyCheck({ allowed, targets }: Residency, targetId: string): Check {
  return {
    id: 'residency',
    label: 'The copy, and every target in use, lie in allowed regions',
    run: async () => {
      const own = targets.find(({ id }) => id === targetId);
      const outside = targets.filter(({ region }) => !allowed.includes(region));
      const how = own?.knownBy === 'provider' ? 'its server says so' : 'a person said so';
      const here =
        own === undefined
          ? 'this copy lies on a target that is retired'
          : `this copy: ${own.region} (${how})`;
      const others = Map.groupBy(targets, ({ region }) => region);
      const all = [...others].map(([region, list]) => `${region} ${String(list.length)}`).join(', ');
      return {
        passed: outside.length === 0,
        expected: `only ${allowed.join(', ')}`,
        found: `${here}; targets in use by region: ${all === '' ? 'none' : all}`,
      };
    },
  };
}
