export * from './model.ts';
export * from './state.ts';
export { startAgent, type Agent, type AgentOptions } from './agent.ts';
export { systemClock, type Clock } from './clock.ts';
export { enrollingLink, type EnrollingOptions } from './link/enrolling-link.ts';
export type { LinkContext, LinkHandlers, ManagerLink, ManagerLinkFactory } from './link/manager-link.ts';
export type { AgentStatus } from './control/status.ts';
export { attachments, attachmentsDefaults, type AttachmentsOptions } from './attach/attachments.ts';
export { dockerDefaults, type DockerOptions } from './attach/docker/docker-attachment.ts';
