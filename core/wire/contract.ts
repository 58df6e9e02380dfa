import { INTERFACE, INTROSPECTABLE, PEER, PROPERTIES } from './names.js';

export interface Argument {
  readonly name: string;
  readonly type: string;
}

export interface Member {
  readonly name: string;
  readonly in: readonly Argument[];
  readonly out: readonly Argument[];
  /** Refused to anybody but uid 0 before its arguments are looked at. */
  readonly needsRoot: boolean;
}

export interface Property {
  readonly name: string;
  readonly type: string;
  /** Whether the value can differ between two reads while the service runs; it announces no changes. */
  readonly changes: boolean;
}

export interface Interface {
  readonly name: string;
  readonly members: readonly Member[];
  readonly properties: readonly Property[];
}

function args(list: string): Argument[] {
  if (list === '') return [];
  return list.split(', ').map((item) => {
    const [type = '', name = ''] = item.split(' ');
    return { name, type };
  });
}

function member(name: string, inArgs: string, outArgs: string, needsRoot = false): Member {
  return { name, in: args(inArgs), out: args(outArgs), needsRoot };
}

export const MOUNT_INTERFACE: Interface = {
  name: INTERFACE,
  members: [
    member('MountImage', 's image, h userns, a{sv} options', 'h mount, a{sv} result'),
    member('MountFile', 'h file, ah objects, h userns, a{sv} options', 'h mount, a{sv} result'),
    member('CheckImage', 's image, a{sv} options', 'a{sv} report'),
    member('CheckFile', 'h file, ah objects, a{sv} options', 'a{sv} report'),
    member('ListImages', 'a{sv} options', 'aa{sv} images'),
    member('ListMounts', 'a{sv} options', 'aa{sv} mounts'),
    member('Reload', '', '', true),
  ],
  properties: [
    { name: 'Version', type: 's', changes: false },
    { name: 'Features', type: 'as', changes: false },
    { name: 'Policy', type: 'a{sv}', changes: true },
  ],
};

/** Answered on every path. */
export const PEER_INTERFACE: Interface = {
  name: PEER,
  members: [member('Ping', '', ''), member('GetMachineId', '', 's machine_uuid')],
  properties: [],
};

/** Answered on every path. */
export const INTROSPECTABLE_INTERFACE: Interface = {
  name: INTROSPECTABLE,
  members: [member('Introspect', '', 's xml_data')],
  properties: [],
};

export const PROPERTIES_INTERFACE: Interface = {
  name: PROPERTIES,
  members: [
    member('Get', 's interface_name, s property_name', 'v value'),
    member('GetAll', 's interface_name', 'a{sv} properties'),
    member('Set', 's interface_name, s property_name, v value', ''),
  ],
  properties: [],
};

/** The signature of a list of arguments. */
export function signatureOf(list: readonly Argument[]): string {
  return list.map((argument) => argument.type).join('');
}

export function findMember(where: Interface, name: string): Member | undefined {
  return where.members.find((known) => known.name === name);
}
