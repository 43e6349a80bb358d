// The facts without which a measured number means nothing: CPU, kernel, compiler, versions, date.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "harness/json.hpp"

namespace bench {

// Name and value, in the order in which they are shown.
using facts = std::vector<std::pair<std::string, std::string>>;

// The facts every bench reports. A bench appends its own, such as its peers' versions.
[[nodiscard]] facts machine_facts();

// Type of the file system that holds `path` ("ext4"), "unknown" where the kernel does not tell.
// Throws std::system_error when `path` does not exist.
[[nodiscard]] std::string file_system_of(const std::string& path);

// Directory of the running program, without a slash at the end.
[[nodiscard]] std::string program_directory();

void print_facts(const facts& all);
void write_facts(json_writer& out, const facts& all);

} // namespace bench
