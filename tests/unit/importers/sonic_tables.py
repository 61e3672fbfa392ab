"""The configuration of a SONiC switch, written for tests."""

Tables = dict[str, dict[str, dict[str, str]]]

LEAF: Tables = {
    "DEVICE_METADATA": {"localhost": {"hostname": "Leaf_A", "type": "LeafRouter"}},
    "PORT": {
        "Ethernet0": {"speed": "100000", "mtu": "9100"},
        "Ethernet4": {"speed": "100000", "mtu": "9100", "alias": "et2"},
    },
    "CABLE_LENGTH": {"AZURE": {"Ethernet0": "40m", "Ethernet4": "2000m"}},
    "BUFFER_POOL": {
        "in": {"type": "ingress", "mode": "dynamic", "size": "2000000", "xoff": "400000"},
        "out": {"type": "egress", "mode": "dynamic", "size": "1500000"},
        "keep": {"type": "egress", "mode": "static", "size": "3000000"},
    },
    "BUFFER_PROFILE": {
        "ll": {"pool": "in", "size": "1248", "dynamic_th": "-2", "xon": "1248", "xon_offset": "9000", "xoff": "90000"},
        "lossy": {"pool": "out", "size": "1664", "dynamic_th": "-1"},
        "all": {"pool": "keep", "size": "0", "static_th": "3000000"},
    },
    "BUFFER_PG": {"Ethernet0,Ethernet4|3-4": {"profile": "ll"}},
    "BUFFER_QUEUE": {
        "Ethernet0,Ethernet4|0-2": {"profile": "[BUFFER_PROFILE|lossy]"},
        "Ethernet0,Ethernet4|3-4": {"profile": "all"},
    },
    "QUEUE": {
        "Ethernet0,Ethernet4|0": {"scheduler": "few"},
        "Ethernet0,Ethernet4|3-4": {"scheduler": "many", "wred_profile": "w"},
        "HOST|ASIC0|Ethernet0,Ethernet4|7": {"scheduler": "first"},
    },
    "WRED_PROFILE": {
        "w": {
            "ecn": "ecn_all",
            "wred_green_enable": "true",
            "green_min_threshold": "250000",
            "green_max_threshold": "1000000",
            "green_drop_probability": "5",
        }
    },
    "SCHEDULER": {
        "few": {"type": "DWRR", "weight": "5"},
        "many": {"type": "DWRR", "weight": "15"},
        "first": {"type": "STRICT"},
    },
    "PORT_QOS_MAP": {"global": {"pfc_enable": "4,3"}},
    "PFC_WD": {
        "GLOBAL": {"POLL_INTERVAL": "100"},
        "Ethernet0": {"action": "forward", "detection_time": "200", "restoration_time": "300"},
        "Ethernet4": {"action": "forward", "detection_time": "200", "restoration_time": "300"},
    },
    "DEVICE_NEIGHBOR": {
        "Ethernet0": {"name": "Server_1", "port": "eth0"},
        "Ethernet4": {"name": "spine", "port": "Ethernet8"},
    },
    "DEVICE_NEIGHBOR_METADATA": {"Server_1": {"type": "Server"}, "spine": {"type": "SpineRouter"}},
}
