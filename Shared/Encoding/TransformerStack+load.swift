import VectorMath

extension TransformerStack {
    /// Reads the weights of a BERT model.
    static func bert(
        _ shape: TransformerShape,
        _ tensors: TensorFiles,
        _ precision: LinearPrecision
    ) throws(ModelError) -> TransformerStack {
        // A checkpoint of a larger model keeps its encoder under a name.
        let prefix = ["", "bert."].first { tensors.has($0 + "embeddings.word_embeddings.weight") } ?? ""
        let width = shape.width
        let tokens = try tensors.floats(prefix + "embeddings.word_embeddings.weight", shape.tokens, width).values
        var positions = try tensors.floats(
            prefix + "embeddings.position_embeddings.weight",
            shape.positions,
            width
        ).values
        add(firstRowOf: try tensors.floats(prefix + "embeddings.token_type_embeddings.weight", nil, width), &positions)
        var layers: [Layer] = []
        for index in 0..<shape.layers {
            let name = prefix + "encoder.layer.\(index)."
            var attention = Linear(inputs: width, outputs: 3 * width, weight: [], bias: [])
            for part in ["query", "key", "value"] {
                let one = try linear(tensors, name + "attention.self.\(part)", outputs: width, inputs: width)
                attention.weight += one.weight
                attention.bias += one.bias
            }
            let outer = name + "output."
            layers.append(
                Layer(
                    attention: attention,
                    mixing: try linear(tensors, name + "attention.output.dense", outputs: width, inputs: width),
                    mixingNorm: try norm(tensors, name + "attention.output.LayerNorm", width),
                    inner: try linear(
                        tensors,
                        name + "intermediate.dense",
                        outputs: shape.innerWidth,
                        inputs: width
                    ),
                    outer: try linear(tensors, outer + "dense", outputs: width, inputs: shape.innerWidth),
                    outerNorm: try norm(tensors, outer + "LayerNorm", width)
                )
            )
        }
        return TransformerStack(
            shape: shape,
            tokenTable: tokens,
            positionTable: positions,
            inputNorm: try norm(tensors, prefix + "embeddings.LayerNorm", width),
            layers: layers,
            precision: precision
        )
    }

    /// Reads the weights of a NomicBERT model.
    static func nomic(
        _ shape: TransformerShape,
        _ tensors: TensorFiles,
        _ precision: LinearPrecision
    ) throws(ModelError) -> TransformerStack {
        let (width, innerWidth) = (shape.width, shape.innerWidth)
        var tokens = try tensors.floats("embeddings.word_embeddings.weight", shape.tokens, width).values
        add(firstRowOf: try tensors.floats("embeddings.token_type_embeddings.weight", nil, width), &tokens)
        func plain(_ name: String, _ outputs: Int, _ inputs: Int) throws(ModelError) -> Linear {
            let weight = try tensors.floats(name + ".weight", outputs, inputs).values
            return Linear(inputs: inputs, outputs: outputs, weight: weight, bias: [])
        }
        var layers: [Layer] = []
        for index in 0..<shape.layers {
            let name = "encoder.layers.\(index)."
            var inner = try plain(name + "mlp.fc11", innerWidth, width)
            inner.weight += try plain(name + "mlp.fc12", innerWidth, width).weight
            inner.outputs *= 2
            layers.append(
                Layer(
                    attention: try plain(name + "attn.Wqkv", 3 * width, width),
                    mixing: try plain(name + "attn.out_proj", width, width),
                    mixingNorm: try norm(tensors, name + "norm1", width),
                    inner: inner,
                    outer: try plain(name + "mlp.fc2", width, innerWidth),
                    outerNorm: try norm(tensors, name + "norm2", width)
                )
            )
        }
        return TransformerStack(
            shape: shape,
            tokenTable: tokens,
            positionTable: [],
            inputNorm: try norm(tensors, "emb_ln", width),
            layers: layers,
            precision: precision
        )
    }

    static func linear(
        _ tensors: TensorFiles,
        _ name: String,
        outputs: Int,
        inputs: Int
    ) throws(ModelError) -> Linear {
        Linear(
            inputs: inputs,
            outputs: outputs,
            weight: try tensors.floats(name + ".weight", outputs, inputs).values,
            bias: try tensors.floats(name + ".bias", outputs).values
        )
    }

    private static func norm(_ tensors: TensorFiles, _ name: String, _ width: Int) throws(ModelError) -> Norm {
        Norm(
            weight: try tensors.floats(name + ".weight", width).values,
            shift: try tensors.floats(name + ".bias", width).values
        )
    }

    /// All texts are of the first type, so its row can be part of every other one.
    private static func add(firstRowOf types: (shape: [Int], values: [Float]), _ rows: inout [Float]) {
        let width = types.shape[1]
        for index in rows.indices { rows[index] += types.values[index % width] }
    }
}
