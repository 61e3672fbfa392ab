// A chain of point-to-point links of ns-3: one node sends UDP packets of one size, and all those between pass them on.
// Built and run by bench/chain.py; prints the hops of packets, and the processor time of the events alone in seconds.
#include <ctime>
#include <cstdlib>
#include <iostream>

#include "ns3/core-module.h"
#include "ns3/internet-module.h"
#include "ns3/network-module.h"
#include "ns3/point-to-point-module.h"

using namespace ns3;

static Ptr<Socket> sender;
static uint64_t left, hops;
static uint32_t payload;
static Time gap;

static void Send() {
  sender->Send(Create<Packet>(payload));
  if (--left > 0) Simulator::Schedule(gap, &Send);
}

static void Passed(Ptr<const Packet>) { ++hops; }

int main(int count, char **words) {
  if (count != 4) return 2;
  const uint32_t nodes = std::atoi(words[1]);
  left = std::atoll(words[2]);
  payload = std::atoi(words[3]);
  NodeContainer chain;
  chain.Create(nodes);
  InternetStackHelper().Install(chain);
  PointToPointHelper link;
  link.SetDeviceAttribute("DataRate", StringValue("100Gbps"));
  link.SetDeviceAttribute("Mtu", UintegerValue(9000));
  link.SetChannelAttribute("Delay", StringValue("1us"));
  Ipv4AddressHelper addresses("10.0.0.0", "255.255.255.252");
  Ipv4InterfaceContainer last;
  for (uint32_t node = 0; node + 1 < nodes; ++node) {
    NetDeviceContainer ends = link.Install(chain.Get(node), chain.Get(node + 1));
    last = addresses.Assign(ends);
    addresses.NewNetwork();
    ends.Get(1)->TraceConnectWithoutContext("MacRx", MakeCallback(&Passed));
  }
  Ipv4GlobalRoutingHelper::PopulateRoutingTables();
  Ptr<Socket> receiver = Socket::CreateSocket(chain.Get(nodes - 1), UdpSocketFactory::GetTypeId());
  receiver->Bind(InetSocketAddress(Ipv4Address::GetAny(), 4791));
  sender = Socket::CreateSocket(chain.Get(0), UdpSocketFactory::GetTypeId());
  sender->Connect(InetSocketAddress(last.GetAddress(1), 4791));
  // The next packet as soon as the line has taken this one: preamble and gap are ns-3's to leave out.
  gap = NanoSeconds((payload + 30) * 8 / 100 + 1);
  Simulator::Schedule(Time(0), &Send);
  const std::clock_t start = std::clock();
  Simulator::Run();
  const double seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
  Simulator::Destroy();
  std::cout << "{\"hops\": " << hops << ", \"seconds\": " << seconds << "}\n";
}
