/** The bulk pipeline of backups: what the rest of the module uses of it. */
export { openChunkReader, type ChunkReader } from './chunk-reader.ts';
export {
  openChunkWriter,
  type ChunkWriter,
  type ChunkWriterOptions,
  type WriteTotals,
} from './chunk-writer.ts';
export type { ListFilter } from './list-entries.ts';
export { decodePackIndex, packName } from './pack.ts';
export type { PackReference } from './pack-reader.ts';
export type { RestoreOptions, RestoreReport } from './restore-section.ts';
export type { SourceWriter } from './stream-source.ts';
export type { TreeOptions } from './tree-source.ts';
export { verifyPacks, type PackToVerify, type VerifyPacksReport } from './verify-packs.ts';
