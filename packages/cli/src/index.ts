export { startEngine, type Engine, type EngineOptions } from './demo/engine.ts';
export { buildPostgres, busyboxImage, ImageError, importBusybox, postgresImage } from './demo/images.ts';
