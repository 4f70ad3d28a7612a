export * from './port.ts';
export { counterNames } from './generated/maps.ts';
export { canonicalAddress, cidrText, parseCidr } from './address.ts';
export { normalPortTable } from './port-tree.ts';
export { openLinuxKernel, type LinuxKernel, type LinuxKernelOptions } from './linux/kernel.ts';
export { frameOf, packetOf, parseFrame, tcpFlag, type Packet } from './simulated/frame.ts';
export {
  createSimulatedKernel,
  createSimulatedMachine,
  type SimulatedArrival,
  type SimulatedDelivery,
  type SimulatedMachine,
  type SimulatedOptions,
} from './simulated/machine.ts';
export type { FailureOptions, OperationKind } from './simulated/failures.ts';
