-- Frames of the lossless testbed's own, for Wireshark and tshark: credit frames of links, and parity packets of RoCEv2.
-- Layouts: dataplane/src/wire/credit.rs, and Peth in dataplane/src/wire/roce/header.rs.

local EXPERIMENTAL = 0x88b5
local PARITY, BTH_BYTES, RETH_BYTES, PETH_BYTES = 0xc0, 12, 16, 4

local credit = Proto("testbed_credit", "Testbed credit")
local credit_fields = {
  version = ProtoField.uint8("testbed_credit.version", "Version"),
  request = ProtoField.bool("testbed_credit.request", "Limit requested", 8, nil, 0x01),
  priority = ProtoField.uint8("testbed_credit.priority", "Priority"),
  sent = ProtoField.uint32("testbed_credit.sent", "Blocks sent so far"),
  limit = ProtoField.uint32("testbed_credit.limit", "Blocks that the peer may have sent"),
}
credit.fields = credit_fields

-- 13 bytes: "FC" and a version, flags, priority, blocks sent, limit.
function credit.dissector(buffer, packet, tree)
  if buffer:len() < 13 or buffer(0, 2):string() ~= "FC" then
    return 0
  end
  local branch = tree:add(credit, buffer(0, 13))
  branch:add(credit_fields.version, buffer(2, 1))
  branch:add(credit_fields.request, buffer(3, 1))
  branch:add(credit_fields.priority, buffer(4, 1))
  branch:add(credit_fields.sent, buffer(5, 4))
  branch:add(credit_fields.limit, buffer(9, 4))
  packet.cols.protocol = "CREDIT"
  packet.cols.info = string.format("priority %d, sent %d, limit %d%s", buffer(4, 1):uint(), buffer(5, 4):uint(),
    buffer(9, 4):uint(), buffer(3, 1):bitfield(7, 1) == 1 and ", limit requested" or "")
  return 13
end

DissectorTable.get("ethertype"):add(EXPERIMENTAL, credit)

local parity = Proto("testbed_parity", "Testbed parity")
local parity_fields = {
  first = ProtoField.uint24("testbed_parity.first", "PSN of the first packet of the block"),
  address = ProtoField.uint64("testbed_parity.va", "Address of the block", base.HEX),
  left = ProtoField.uint32("testbed_parity.left", "Bytes left of the message from the block on"),
  data = ProtoField.uint8("testbed_parity.data", "Data packets of the block"),
  parity = ProtoField.uint8("testbed_parity.parity", "Parity packets of the block"),
  index = ProtoField.uint8("testbed_parity.index", "Index of this parity packet"),
  starts = ProtoField.bool("testbed_parity.starts", "Block starts its message", 8, nil, 0x80),
}
parity.fields = parity_fields
local opcode, sequence = Field.new("infiniband.bth.opcode"), Field.new("infiniband.bth.psn")

-- Wireshark leaves opcodes of manufacturers at the BTH; a RETH and the PETH follow it.
function parity.dissector(buffer, packet, tree)
  local found = opcode()
  if found == nil or found.value ~= PARITY then
    return
  end
  local reth = found.offset + BTH_BYTES
  local peth = reth + RETH_BYTES
  if buffer:len() < peth + PETH_BYTES then
    return
  end
  local branch = tree:add(parity, buffer(reth, RETH_BYTES + PETH_BYTES))
  branch:add(parity_fields.first, buffer(sequence().offset, 3))
  branch:add(parity_fields.address, buffer(reth, 8))
  branch:add(parity_fields.left, buffer(reth + 12, 4))
  branch:add(parity_fields.data, buffer(peth, 1))
  branch:add(parity_fields.parity, buffer(peth + 1, 1))
  branch:add(parity_fields.index, buffer(peth + 2, 1))
  branch:add(parity_fields.starts, buffer(peth + 3, 1))
  packet.cols.info = string.format("RC Parity %d of %d over %d packets from PSN %d", buffer(peth + 2, 1):uint() + 1,
    buffer(peth + 1, 1):uint(), buffer(peth, 1):uint(), sequence().value)
end

register_postdissector(parity)
