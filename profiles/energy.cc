#include "profiles/energy.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "profiles/platform_facts.h"

namespace smepilot {
namespace {

namespace fs = std::filesystem;

struct Reading {
  std::optional<uint64_t> value;
  int code = 0;  // errno where the file could not be read
};

Reading read_counter(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (file == nullptr) return {{}, errno};
  char text[64];
  const size_t size = std::fread(text, 1, sizeof text, file.get());
  if (std::ferror(file.get()) != 0) return {{}, errno};
  uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text, text + size, value);
  if (ec != std::errc() || (end != text + size && *end != '\n')) return {{}, EINVAL};
  return {value, 0};
}

std::vector<std::string> entries(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; !ec && it != end; it.increment(ec))
    names.push_back(it->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

EnergyMeter::EnergyMeter(const std::string& root) {
  if (find_powercap(root) || find_hwmon(root)) why_not_.clear();
}

// Folders "intel-rapl:0" (package-0, or psys, the whole board, which holds the packages) and below them, with a second
// number, "intel-rapl:0:0" (core, uncore, dram): documentation of the kernel, power/powercap. AMD's have the same
// names.
bool EnergyMeter::find_powercap(const std::string& root) {
  const std::string folder = root + "/class/powercap";
  unsigned packages = 0;
  std::string unreadable;
  for (const std::string& entry : entries(folder)) {
    if (!entry.starts_with("intel-rapl:")) continue;  // "intel-rapl-mmio:0" counts the same package once more
    const std::string zone = fmt::format("{}/{}", folder, entry), name = first_line(zone + "/name");
    const bool is_package = name.starts_with("package"), is_dram = name == "dram";
    if (!is_package && !is_dram) continue;
    Counter counter{zone + "/energy_uj", read_counter(zone + "/max_energy_range_uj").value.value_or(0), is_dram};
    if (const Reading r = read_counter(counter.path); !r.value) {
      unreadable = fmt::format("{}: {}", counter.path, std::strerror(r.code));
      continue;
    }
    packages += is_package ? 1 : 0;
    counters_.push_back(std::move(counter));
  }
  if (packages != 0 && unreadable.empty()) {
    source_ = fmt::format("RAPL, {} package{}", packages, packages == 1 ? "" : "s");
    return true;
  }
  counters_.clear();  // part of the machine's energy would pass for all of it
  why_not_ = !unreadable.empty() ? unreadable + " (root may read it)"
                                 : fmt::format("no powercap package under {} and no energy counter of hwmon", folder);
  return false;
}

// energy*_input, in microjoules: documentation of the kernel, hwmon/sysfs-interface. Only a driver that is known to
// label one counter for each socket: a graphics card's says nothing of what the program used, and a sum over unknown
// labels may count the same twice.
bool EnergyMeter::find_hwmon(const std::string& root) {
  const std::string folder = root + "/class/hwmon";
  std::string unreadable;
  for (const std::string& entry : entries(folder)) {
    const std::string device = fmt::format("{}/{}", folder, entry), name = first_line(device + "/name");
    if (name != "amd_energy") continue;
    for (const std::string& file : entries(device)) {
      if (!file.starts_with("energy") || !file.ends_with("_input")) continue;
      const std::string label = first_line(device + "/" + file.substr(0, file.size() - 5) + "label");
      if (!label.starts_with("Esocket")) continue;  // amd_energy has each core too: Ecore000
      Counter counter{fmt::format("{}/{}", device, file)};
      if (const Reading r = read_counter(counter.path); !r.value)
        unreadable = fmt::format("{}: {}", counter.path, std::strerror(r.code));
      else
        counters_.push_back(std::move(counter));
    }
  }
  if (!counters_.empty() && unreadable.empty()) {
    source_ = fmt::format("hwmon, {} counter{}", counters_.size(), counters_.size() == 1 ? "" : "s");
    return true;
  }
  counters_.clear();
  if (!unreadable.empty()) why_not_ = unreadable + " (root may read it)";
  return false;
}

void EnergyMeter::start() {
  broken_ = false;
  for (Counter& c : counters_) {
    const Reading r = read_counter(c.path);
    if (!r.value) broken_ = true;
    c.last = r.value.value_or(0);
    c.microjoules = 0;
  }
}

void EnergyMeter::sample() {
  for (Counter& c : counters_) {
    const Reading r = read_counter(c.path);
    if (!r.value) {
      broken_ = true;
      continue;
    }
    // Unsigned arithmetic is right for counters of 64 bits; those of RAPL start anew after max_energy_range_uj.
    uint64_t used = *r.value - c.last;
    if (*r.value < c.last && c.range != 0) used = c.range - c.last + *r.value;
    if (c.range != 0 && used > c.range) broken_ = true;  // more than fits: not this counter's end
    c.microjoules += static_cast<double>(used);
    c.last = *r.value;
  }
}

std::optional<Energy> EnergyMeter::stop() {
  if (!available()) return {};
  sample();
  if (broken_) return {};
  Energy energy;
  for (const Counter& c : counters_) {
    double& sum = c.is_dram ? energy.dram_joules.emplace(energy.dram_joules.value_or(0)) : energy.joules;
    sum += c.microjoules * 1e-6;
  }
  return energy;
}

}  // namespace smepilot
