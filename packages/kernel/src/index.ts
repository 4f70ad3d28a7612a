export * from './port.ts';
export { counterNames } from './generated/maps.ts';
export { canonicalAddress, cidrText, parseCidr } from './address.ts';
export { normalPortTable } from './port-tree.ts';
export { openLinuxKernel, type LinuxKernel, type LinuxKernelOptions } from './linux/kernel.ts';
