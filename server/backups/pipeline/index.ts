/** The bulk pipeline of backups: what the rest of the module uses of it. */
export { openChunkReader, type ChunkReader } from './chunk-reader.ts';
export { openChunkWriter, type ChunkWriterOptions, type WriteTotals } from './chunk-writer.ts';
export type { TreeOptions } from './tree-source.ts';
export { verifyPacks } from './verify-packs.ts';
