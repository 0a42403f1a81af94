import { readAuditFacts } from '../scratch-queries.ts';
import type { Check } from '../scene.ts';
import { inDatabase } from './database-checks.ts';

const TRIGGERS = ['audit_entries_no_change', 'audit_entries_no_truncate'];

export const auditCheck: Check = {
  id: 'audit',
  label: 'Audit log is whole and still refuses changes',
  async run(scene) {
    const facts = await inDatabase(scene, readAuditFacts);
    const missing = TRIGGERS.filter((name) => !facts.triggers.includes(name));
    return {
      // Numbers of transactions that were rolled back are gaps; numbers below the count cannot be.
      passed: missing.length === 0 && facts.highest >= facts.entries && facts.outOfOrder === 0,
      expected: `entries in order of time, triggers ${TRIGGERS.join(' and ')}`,
      found: `${facts.entries} entries, highest number ${facts.highest}, ${facts.outOfOrder} out of order; triggers missing: ${missing.length}`,
    };
  },
};
