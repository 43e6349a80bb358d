// What syncs make durable, and what kills and power cuts leave, of a simulated machine's files.
#include "sim_files.hpp"

#include "fd_calls.hpp"

#include <sapwood/fmt_library.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <set>

namespace sapwood::detail {

std::uint64_t sim_files::sync_mark(int fd) const {
    const descriptor* const of = opened(fd);
    if (of == nullptr) {
        return 0;
    }
    return S_ISDIR(node(of->inode).mode) ? groups_ : node(of->inode).bytes.mark();
}

std::int32_t sim_files::sync(int fd, std::uint64_t mark) {
    descriptor* const of = find_descriptor(fd);
    if (of == nullptr || (of->flags & O_PATH) != 0) {
        return -EBADF;
    }
    inode& file = node(of->inode);
    if (S_ISDIR(file.mode)) {
        sync_names(of->inode, mark);
        return 0;
    }
    if (!S_ISREG(file.mode)) {
        return -EINVAL;
    }
    file.bytes.sync(mark);
    if (of->sync_errors_seen != file.sync_errors) {
        of->sync_errors_seen = file.sync_errors;
        file.is_error_told = true;
        return file.sync_error;
    }
    return 0;
}

std::int32_t sim_files::fail_sync(int fd, std::int32_t error, sim_random& chance) {
    descriptor* const of = find_descriptor(fd);
    if (of == nullptr || (of->flags & O_PATH) != 0) {
        return -EBADF;
    }
    inode& file = node(of->inode);
    if (S_ISREG(file.mode)) {
        file.bytes.lose(chance);
        ++file.sync_errors;
        file.sync_error = error;
        file.is_error_told = true;
        of->sync_errors_seen = file.sync_errors;
    }
    return error; // of a directory: its names are as they were, and not durable
}

void sim_files::apply(const name_change& change) {
    auto& names = node(change.folder).durable_names;
    if (change.file != 0) {
        names[change.name] = change.file;
    } else {
        names.erase(change.name);
    }
}

/// Everything in the directory up to `mark`, and what goes together with it in others, where
/// nothing comes before what went before it.
void sim_files::sync_names(std::uint32_t folder, std::uint64_t mark) {
    std::set<std::uint32_t> folders{folder};
    std::uint64_t last = 0;
    for (std::size_t before = 0; before != folders.size();) {
        before = folders.size();
        for (const name_change& change : name_changes_) {
            if (folders.contains(change.folder) && change.group <= mark) {
                last = std::max(last, change.group);
                for (const name_change& mate : name_changes_) {
                    if (mate.group == change.group) {
                        folders.insert(mate.folder);
                    }
                }
            }
        }
    }
    std::erase_if(name_changes_, [&](const name_change& change) {
        const bool is_synced = folders.contains(change.folder) && change.group <= last;
        if (is_synced) {
            apply(change);
        }
        return is_synced;
    });
}

void sim_files::forget_descriptors() noexcept {
    for (descriptor& each : descriptors_) {
        if (each.is_open) {
            drop_lock(each);
            each.is_open = false;
        }
    }
}

unsigned sim_files::kill(bool may_evict) {
    forget_descriptors();
    unsigned changed = 0;
    if (may_evict) {
        for (inode& each : inodes_) {
            changed += each.bytes.evict() ? 1 : 0;
        }
    }
    return changed;
}

void sim_files::cut(sim_random& chance) {
    forget_descriptors();
    std::set<std::uint32_t> stopped;
    const std::uint64_t die = chance.below(3);
    for (auto change = name_changes_.begin(); change != name_changes_.end();) {
        auto end = std::find_if(change, name_changes_.end(), [&](const name_change& each) {
            return each.group != change->group;
        });
        const bool is_stopped = std::any_of(
            change, end, [&](const name_change& each) { return stopped.contains(each.folder); });
        if (is_stopped || die == 0 || (die == 1 && chance.one_in(2))) {
            std::for_each(change, end,
                          [&](const name_change& each) { stopped.insert(each.folder); });
        } else {
            std::for_each(change, end, [&](const name_change& each) { apply(each); });
        }
        change = end;
    }
    name_changes_.clear();
    for (inode& each : inodes_) {
        each.names = each.durable_names;
        each.links = 0;
        each.bytes.cut(chance);
        each.is_error_told = true;
    }
    node(root).links = 2;
    walk(root);
}

void sim_files::make_all_durable() {
    for (const name_change& change : name_changes_) {
        apply(change);
    }
    name_changes_.clear();
    for (inode& each : inodes_) {
        each.bytes.sync(each.bytes.mark());
    }
}

/// Counts the names of what is in `folder`.
void sim_files::walk(std::uint32_t folder) {
    for (const auto& [name, file] : node(folder).names) {
        inode& found = node(file);
        if (S_ISDIR(found.mode)) {
            found.parent = folder;
            found.links += 2;
            walk(file);
        } else {
            ++found.links;
        }
    }
}

/// Of the files with these names; empty where all may be so.
std::string
sim_files::objection_to_contents(const name_map& names,
                                 const std::map<std::string, std::string>& found) const {
    for (const auto& [name, file] : names) {
        const std::string wrong = node(file).bytes.objection(found.at(name)).value_or("");
        if (!wrong.empty()) {
            return fmt::format("{}: {}", name, wrong);
        }
    }
    return {};
}

std::optional<std::string>
sim_files::objection(std::string_view folder,
                     const std::map<std::string, std::string>& found) const {
    const place at = resolve(AT_FDCWD, folder, last_link::follow, 0);
    if (at.error != 0 || at.file == 0) {
        return fmt::format("there is no directory {}", folder);
    }
    std::vector<const name_change*> changes;
    for (const name_change& change : name_changes_) {
        if (change.folder == at.file) {
            changes.push_back(&change);
        }
    }
    auto names = node(at.file).durable_names;
    std::string why = "its names";
    for (std::size_t kept = 0;; ++kept) {
        // Not in the middle of a rename.
        const bool is_whole =
            kept == 0 || kept == changes.size() || changes[kept]->group != changes[kept - 1]->group;
        const bool has_names =
            is_whole && names.size() == found.size() &&
            std::equal(names.begin(), names.end(), found.begin(),
                       [](const auto& one, const auto& other) { return one.first == other.first; });
        if (has_names) {
            why = objection_to_contents(names, found);
            if (why.empty()) {
                return std::nullopt;
            }
        }
        if (kept == changes.size()) {
            return why;
        }
        const name_change& next = *changes[kept];
        if (next.file != 0) {
            names[next.name] = next.file;
        } else {
            names.erase(next.name);
        }
    }
}

} // namespace sapwood::detail
