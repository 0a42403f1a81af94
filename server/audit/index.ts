export { systemActor, type Actor } from './actor.ts';
export { recordAudit, type AuditRecord } from './record-audit.ts';
export { auditRoutes } from './routes.ts';
export { sequenceEntries, startSequencer } from './sequencer.ts';
export { listAudit } from './service.ts';
export { AuditEntry } from './schema.ts';
