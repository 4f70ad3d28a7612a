/** Who may do what through the API. One explicit matrix; no role contains another by accident. */

export const permissions = [
  /** See workloads, documents, flows, questions, divergences, explanations. */
  'read',
  /** Change documents. */
  'documents',
  /** Answer questions that wait for a human. */
  'answer',
  /** Adopt and release workloads. */
  'operate',
  /** Enrol and revoke hosts. */
  'hosts',
  /** Give and take people's tokens. */
  'people',
  /** Read and export the audit log. */
  'audit',
  /** Switch enforcement off and on. */
  'enforcement',
] as const;
export type Permission = (typeof permissions)[number];

export const roles = ['viewer', 'operator', 'author', 'approver', 'administrator'] as const;
export type Role = (typeof roles)[number];

/**
 * An author does not approve and an approver does not write: that is what two people are for. The administrator gives tokens, so
 * withholding a permission from that role would only look safe.
 */
export const rolePermissions: Readonly<Record<Role, ReadonlySet<Permission>>> = {
  viewer: new Set(['read']),
  operator: new Set(['read', 'operate', 'audit']),
  author: new Set(['read', 'documents']),
  approver: new Set(['read', 'answer', 'audit']),
  administrator: new Set(permissions),
};
