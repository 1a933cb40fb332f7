//! OpenZeppelin's `StandardMerkleTree`, which wallet tools and `MerkleProof.sol` can check.
//!
//! A leaf is keccak256(keccak256(ABI words)); leaves are sorted; the tree of n leaves is an array
//! of 2n − 1 nodes with the children of node i at 2i + 1 and 2i + 2, the leaves at its end in
//! reverse order; a parent is keccak256 over its children in byte order. Source:
//! <https://github.com/OpenZeppelin/merkle-tree> (`core.ts`, `standard.ts`).

use sha3::{Digest, Keccak256};

use crate::Hash;

/// The leaf over ABI-encoded words (n × 32 bytes).
#[must_use]
pub fn leaf(words: &[u8]) -> Hash {
    Keccak256::digest(Keccak256::digest(words)).into()
}

/// Hash of two children, whatever their order.
fn pair(a: &Hash, b: &Hash) -> Hash {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    Keccak256::new()
        .chain_update(low)
        .chain_update(high)
        .finalize()
        .into()
}

/// A tree over leaf hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Hash>,
}

impl Tree {
    /// Build the tree over `leaves`, in any order.
    #[must_use]
    pub fn new(leaves: &[Hash]) -> Self {
        if leaves.is_empty() {
            return Self { nodes: Vec::new() };
        }
        let mut sorted = leaves.to_vec();
        sorted.sort_unstable();
        let len = 2 * sorted.len() - 1;
        let mut nodes = vec![[0; 32]; len];
        for (index, leaf) in sorted.into_iter().enumerate() {
            nodes[len - 1 - index] = leaf;
        }
        for index in (0..len - leaves.len()).rev() {
            nodes[index] = pair(&nodes[2 * index + 1], &nodes[2 * index + 2]);
        }
        Self { nodes }
    }

    /// The root; all zeros for the empty tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.nodes.first().copied().unwrap_or_default()
    }

    /// The sibling path of `leaf`, from the bottom up, or nothing if it is not in the tree.
    #[must_use]
    pub fn proof(&self, leaf: &Hash) -> Option<Vec<Hash>> {
        let leaves = self.nodes.len().div_ceil(2);
        let first = self.nodes.len() - leaves;
        // Leaves lie in falling order.
        let offset = self.nodes[first..]
            .binary_search_by(|node| leaf.cmp(node))
            .ok()?;
        let mut index = first + offset;
        let mut path = Vec::new();
        while index > 0 {
            let sibling = if index % 2 == 1 { index + 1 } else { index - 1 };
            path.push(self.nodes[sibling]);
            index = (index - 1) / 2;
        }
        Some(path)
    }
}

/// Whether `proof` leads from `leaf` to `root`.
#[must_use]
pub fn verify(root: &Hash, leaf: &Hash, proof: &[Hash]) -> bool {
    proof
        .iter()
        .fold(*leaf, |node, sibling| pair(&node, sibling))
        == *root
}
