import { INTROSPECTABLE_INTERFACE, MOUNT_INTERFACE, PEER_INTERFACE, PROPERTIES_INTERFACE } from './contract.js';
import type { Argument, Interface, Member, Property } from './contract.js';
import { OBJECT_PATH } from './names.js';

// D-Bus specification, "Introspection Data Format".
const DOCTYPE = `<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">`;
const EMITS_CHANGED = 'org.freedesktop.DBus.Property.EmitsChangedSignal';

/** Introspection data of our object or of a node above it; undefined where there is nothing. */
export function introspect(path: string): string | undefined {
  if (path === OBJECT_PATH)
    return writeNode([MOUNT_INTERFACE, PROPERTIES_INTERFACE, INTROSPECTABLE_INTERFACE, PEER_INTERFACE], []);
  const above = path === '/' ? '/' : `${path}/`;
  if (path === '' || !OBJECT_PATH.startsWith(above)) return undefined;
  const [child = ''] = OBJECT_PATH.slice(above.length).split('/');
  return writeNode([INTROSPECTABLE_INTERFACE, PEER_INTERFACE], [child]);
}

function writeNode(interfaces: readonly Interface[], children: readonly string[]): string {
  const lines = [...interfaces.flatMap(writeInterface), ...children.map((name) => `  <node name="${name}"/>`)];
  return `${[DOCTYPE, '<node>', ...lines, '</node>'].join('\n')}\n`;
}

function writeInterface(described: Interface): string[] {
  return [
    `  <interface name="${described.name}">`,
    ...described.members.flatMap(writeMethod),
    ...described.properties.flatMap(writeProperty),
    '  </interface>',
  ];
}

function writeMethod(method: Member): string[] {
  const args = [...writeArgs(method.in, 'in'), ...writeArgs(method.out, 'out')];
  if (args.length === 0) return [`    <method name="${method.name}"/>`];
  return [`    <method name="${method.name}">`, ...args, '    </method>'];
}

function writeArgs(list: readonly Argument[], direction: 'in' | 'out'): string[] {
  return list.map(({ name, type }) => `      <arg name="${name}" type="${type}" direction="${direction}"/>`);
}

function writeProperty(property: Property): string[] {
  return [
    `    <property name="${property.name}" type="${property.type}" access="read">`,
    `      <annotation name="${EMITS_CHANGED}" value="${property.changes ? 'false' : 'const'}"/>`,
    '    </property>',
  ];
}
